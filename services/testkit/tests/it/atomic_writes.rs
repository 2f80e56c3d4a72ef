//! Writes that belong together happen together or not at all: one part after the other is made to fail, and then none
//! of them is stored.

use serde_json::json;
use shared::ServiceName::{self, Comments, Moderation, Posts};
use testkit::events::{comment_created, logged, post_created};
use testkit::{Ask, Running, World, post};

/// Makes every insert into a table and every update of it fail, or work again.
fn obstruct(world: &World, name: ServiceName, table: &str, obstructed: bool) {
    let sql = if obstructed {
        let no = |change: &str| {
            format!(
                "CREATE TRIGGER no_{change} BEFORE {change} ON {table} BEGIN SELECT RAISE(ABORT, 'on purpose'); END"
            )
        };
        [no("INSERT"), no("UPDATE")]
    } else {
        ["DROP TRIGGER no_INSERT".to_owned(), "DROP TRIGGER no_UPDATE".to_owned()]
    };
    for statement in sql {
        world.execute(name, &statement);
    }
}

/// How many rows each table has.
fn rows(world: &World, name: ServiceName, tables: &[&str]) -> Vec<String> {
    tables.iter().flat_map(|table| world.rows(name, &format!("SELECT count(*) FROM {table}"))).collect()
}

/// Sends a request that writes to each of these tables, while one table after the other rejects writes; and once more
/// while none does.
async fn all_or_nothing(world: &World, service: &Running, ask: &Ask, tables: &[&str]) {
    let before = rows(world, service.name, tables);
    for table in tables {
        obstruct(world, service.name, table, true);
        assert_eq!(service.send(ask.clone()).await.status, 500, "{table}");
        assert_eq!(rows(world, service.name, tables), before, "{table} rejected its write");
        obstruct(world, service.name, table, false);
    }
    assert_eq!(service.send(ask.clone()).await.status, 201);
    let after = rows(world, service.name, tables);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
}

#[tokio::test]
async fn a_post_its_event_and_its_key() {
    let world = World::new();
    let posts = world.start(world.config(Posts), posts::build).await;
    let ask = post("/posts/create").json(&json!({"title": "T"})).header("idempotency-key", "k");
    all_or_nothing(&world, &posts, &ask, &["posts", "outbox", "idempotency"]).await;
}

#[tokio::test]
async fn a_comment_its_event_and_its_key() {
    let world = World::new();
    let comments = world.start(world.config(Comments), comments::build).await;
    comments.deliver(&world, &[logged(&post_created("p1", "T", 1), 1)]).await.ok(200);
    let ask = post("/posts/p1/comments").json(&json!({"content": "hi"})).header("idempotency-key", "k");
    all_or_nothing(&world, &comments, &ask, &["comments", "outbox", "idempotency"]).await;
}

#[tokio::test]
async fn a_verdict_its_event_and_the_cursor() {
    let world = World::new();
    let config = moderation::Config { peer: world.config(Moderation), rules: None };
    let moderation = world.start(config, moderation::build).await;
    let stored = || {
        let mut stored = rows(&world, Moderation, &["verdicts", "outbox"]);
        stored.append(&mut world.rows(Moderation, "SELECT seq FROM cursor"));
        stored
    };
    let created = [logged(&comment_created("c1", "p1", "hi", 1), 1)];
    obstruct(&world, Moderation, "cursor", true);
    assert_eq!(moderation.deliver(&world, &created).await.status, 500);
    assert_eq!(stored(), ["0", "0", "0"]);
    obstruct(&world, Moderation, "cursor", false);

    // An event that fails because of its data is parked, and its writes are rolled back.
    obstruct(&world, Moderation, "outbox", true);
    moderation.deliver(&world, &created).await.ok(200);
    assert_eq!(stored(), ["0", "0", "1"]);
    obstruct(&world, Moderation, "outbox", false);
    let letter = world.rows(Moderation, "SELECT id FROM dead_letters").concat();
    moderation.post(&format!("/dead-letters/{letter}/redrive"), &json!({})).await.ok(200);
    assert_eq!(stored(), ["1", "1", "1"]);
}
