//! A discarded event stays discarded when the store that held the dead letter is lost.

use rusqlite::Connection;
use serde_json::json;
use shared::ServiceName::{self, Query};
use testkit::events::{comment_created, comment_updated, post_created, published};
use testkit::{Running, World, eventually};

async fn dead_letters(service: &Running) -> Vec<i64> {
    let letters = service.get("/dead-letters").await.ok(200);
    letters.as_array().unwrap().iter().map(|letter| letter["id"].as_i64().unwrap()).collect()
}

async fn log(bus: &Running) -> Vec<serde_json::Value> {
    bus.get("/events").await.ok(200).as_array().unwrap().clone()
}

/// Waits until a service has applied as many events as the log has.
async fn has_read(world: &World, bus: &Running, name: ServiceName) {
    let caught_up = async || {
        let head = log(bus).await.len().to_string();
        (world.rows(name, "SELECT seq FROM cursor") == [head]).then_some(())
    };
    eventually("it has read the log", caught_up).await;
}

#[test]
fn every_peer_finds_discarded_events_by_an_index() {
    for migrations in [
        posts::store::MIGRATIONS,
        comments::store::MIGRATIONS,
        moderation::store::MIGRATIONS,
        query::store::MIGRATIONS,
    ] {
        let c = Connection::open_in_memory().unwrap();
        for step in migrations.iter().flat_map(|parts| parts.iter()) {
            c.execute_batch(step).unwrap();
        }
        let find = "EXPLAIN QUERY PLAN SELECT 1 FROM dead_letters WHERE event_id = ?1";
        let plan: String = c.query_row(find, [""], |row| row.get("detail")).unwrap();
        assert!(plan.starts_with("SEARCH"), "{plan}");
    }
}

#[tokio::test]
async fn a_lost_store_is_rebuilt_to_the_same_bytes_after_a_discard() {
    let world = World::new();
    let bus = world.start_bus().await;
    let query = world.start(world.config(Query).into(), query::build).await;
    let mut broken = published(&post_created("p1", "T", 1), "broken");
    broken.data = serde_json::value::to_raw_value(&json!({"id": "p1", "title": {}})).unwrap();
    bus.post("/events", &broken).await.ok(200);
    for (id, event) in [
        ("p1", post_created("p1", "one", 2)),
        ("p2", post_created("p2", "two", 3)),
        ("c1", comment_created("c1", "p1", "hi", 4)),
        ("u1", comment_updated("c1", "p1", "hi", shared::events::Status::Approved)),
    ] {
        bus.post("/events", &published(&event, id)).await.ok(200);
    }
    has_read(&world, &bus, Query).await;
    let parked = dead_letters(&query).await;
    assert_eq!(parked.len(), 4, "the broken event, and those of its post behind it");

    let resolved = query.post(&format!("/dead-letters/{}/discard", parked[0]), &json!({})).await.ok(200);
    assert_eq!(resolved, json!({"applied": 3, "remaining": 0}));
    eventually("the discard is in the log", async || (log(&bus).await.len() == 6).then_some(())).await;
    bus.post("/events", &published(&comment_created("c2", "p1", "later", 5), "c2")).await.ok(200);
    has_read(&world, &bus, Query).await;
    let before = query.get("/read-model").await.text().to_owned();
    assert!(before.contains("one") && before.contains("later"), "{before}");

    world.stop(query).await;
    world.wipe(Query);
    let query = world.start(world.config(Query).into(), query::build).await;
    query.becomes_ready().await;
    has_read(&world, &bus, Query).await;
    assert_eq!(query.get("/read-model").await.text(), before);
    assert_eq!(dead_letters(&query).await, [0; 0]);
    assert_eq!(world.rows(Query, "SELECT count(*) FROM dead_letters WHERE discarded_at IS NOT NULL"), ["1"]);
    assert_eq!(world.rows(Query, "SELECT count(*) FROM outbox"), ["0"]);
    assert_eq!(log(&bus).await.len(), 7, "and nothing is added to the log");
}
