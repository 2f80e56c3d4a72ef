//! Moderation with a real bus.

use crate::{config_with, decide, outbox, queue, start, start_with_rules};
use kit::messaging::signature::Direction;
use serde_json::{Value, json};
use shared::ServiceName;
use testkit::events::{comment_created, post_created, published};
use testkit::{Running, World, eventually, get, post};

async fn publish(world: &World, bus: &Running, n: i64, content: &str) {
    let event = published(&comment_created(&format!("c{n}"), "p1", content, n), &format!("created-{n}"));
    let ask = post("/events").json(&event).signed(world, ServiceName::Comments, Direction::Publish);
    bus.send(ask).await.ok(200);
}

async fn log(world: &World, bus: &Running) -> Vec<Value> {
    bus.send(get("/events").as_operator(world)).await.ok(200).as_array().unwrap().clone()
}

async fn log_has(world: &World, bus: &Running, count: usize) {
    eventually("the log has them", async || (log(world, bus).await.len() >= count).then_some(())).await;
}

async fn has_applied(world: &World, count: usize) {
    let cursor = count.to_string();
    let applied = || world.rows(ServiceName::Moderation, "SELECT seq FROM cursor").first() == Some(&cursor);
    eventually("everything is applied", async || applied().then_some(())).await;
    eventually("everything is published", async || outbox(world).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_comment_that_was_written_while_it_was_down_is_judged_when_it_is_back() {
    let world = World::secure();
    let bus = world.start_bus().await;
    publish(&world, &bus, 1, "one").await;
    let moderation = start(&world).await;
    log_has(&world, &bus, 2).await;
    world.stop(moderation).await;
    publish(&world, &bus, 2, "an orange").await;
    publish(&world, &bus, 3, "three").await;
    let _moderation = start(&world).await;
    log_has(&world, &bus, 6).await;
    let said = log(&world, &bus).await;
    let verdicts: Vec<_> = said
        .iter()
        .filter(|e| e["type"] == "CommentModerated")
        .map(|e| (e["data"]["id"].clone(), e["data"]["status"].clone(), e["causationid"].clone()))
        .collect();
    let verdict = |id: &str, status: &str, cause: &str| (json!(id), json!(status), json!(cause));
    assert_eq!(
        verdicts,
        [
            verdict("c1", "approved", "created-1"),
            verdict("c2", "rejected", "created-2"),
            verdict("c3", "approved", "created-3")
        ]
    );
}

#[tokio::test]
async fn verdicts_wait_for_the_bus() {
    let world = World::secure();
    let moderation = start_with_rules(&world).await;
    crate::comment(&world, &moderation, 1, "https://").await;
    assert_eq!(decide(&world, &moderation, "c1", &json!({"status": "approved"})).await.status, 204);
    assert_eq!(outbox(&world).len(), 1);
    let bus = world.start_bus().await;
    log_has(&world, &bus, 1).await;
    assert_eq!(log(&world, &bus).await[0]["data"]["rule"], "person");
}

#[tokio::test]
async fn a_wiped_store_is_rebuilt_from_the_log_and_publishes_nothing_new() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let moderation = start_with_rules(&world).await;
    let ask = post("/events").json(&published(&post_created("p1", "T", 0), "post"));
    bus.send(ask.signed(&world, ServiceName::Posts, Direction::Publish)).await.ok(200);
    for (n, content) in (1..).zip(["fine", "buy now", "https://a", "https://b", "https://c", "fine too"]) {
        world.clock.advance_ms(10);
        publish(&world, &bus, n, content).await;
    }
    // Seven events, and verdicts on three of the comments; then a person's on two of those that wait.
    has_applied(&world, 10).await;
    for (id, status) in [("c3", "approved"), ("c5", "rejected")] {
        assert_eq!(decide(&world, &moderation, id, &json!({ "status": status })).await.status, 204);
    }
    has_applied(&world, 12).await;
    let before = log(&world, &bus).await;
    let waiting = queue(&world, &moderation).await;
    assert_eq!((waiting.as_array().unwrap().len(), &waiting[0]["comment"]["id"]), (1, &json!("c4")));
    let verdicts = || world.rows(ServiceName::Moderation, "SELECT * FROM verdicts ORDER BY comment_id");
    let known = verdicts();

    world.stop(moderation).await;
    world.wipe(ServiceName::Moderation);
    let stricter = r#"{"rules":[
        {"id":"all","words":["fine"],"action":"reject","reason":"the rules have changed"},
        {"id":"links","words":["https://"],"action":"hold","reason":"has a link"}
    ]}"#;
    let moderation = world.start(config_with(&world, stricter), moderation::build).await;
    has_applied(&world, 12).await;
    assert_eq!(verdicts(), known, "what was decided stays decided, though the rules have changed");
    let rebuilt = queue(&world, &moderation).await;
    assert_eq!((rebuilt.as_array().unwrap().len(), &rebuilt[0]["comment"]), (1, &waiting[0]["comment"]));
    assert_eq!(log(&world, &bus).await, before, "the bus knows every event that was said again");
}
