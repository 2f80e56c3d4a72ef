//! A consumer that has seen more than the log holds: the log has lost its tail, and nothing is delivered over it.

use crate::subscriber::{Answer, Subscriber};
use crate::{acknowledges, insecure, log, publish_posts, row, seq, subscribe};
use serde_json::{Value, json};
use shared::{ProblemKind, ServiceName};
use std::time::Duration;
use testkit::eventually;

#[tokio::test]
async fn a_registration_beyond_the_end_is_refused_and_holds_deliveries() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    let witness = Subscriber::at(&world, "witness");
    publish_posts(&bus, 1, 2).await;
    for name in ["one", "witness"] {
        subscribe(&bus, name, 0, true).await.ok(200);
        acknowledges(&world, &bus, name, 2).await;
    }
    let reply = subscribe(&bus, "one", 5, true).await;
    let problem = reply.problem(ProblemKind::Conflict);
    assert!(problem.detail.unwrap().contains("the log has lost its tail"));
    assert_eq!(reply.json::<Value>()["head"], seq(2));
    let held = row(&world, &bus, "one").await.unwrap();
    assert_eq!(held["lostTail"], json!(true));
    assert!(held["lastError"].as_str().unwrap().contains("lost its tail"), "{held}");

    publish_posts(&bus, 3, 4).await;
    acknowledges(&world, &bus, "witness", 4).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), one.was_sent(2)).await.is_err(),
        "nothing is delivered"
    );

    // It comes with a store that fits the log: all is well again.
    subscribe(&bus, "one", 2, true).await.ok(200);
    let well = acknowledges(&world, &bus, "one", 4).await;
    assert_eq!((well.get("lostTail"), &well["lastError"]), (None, &json!(null)));
    assert_eq!(one.sequences(), [[1, 2], [3, 4]]);
    assert_eq!(witness.sequences(), [[1, 2], [3, 4]]);
}

#[tokio::test]
async fn an_answer_that_names_a_place_beyond_the_end_holds_deliveries_too() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    one.will([Answer::Rewind(7)]);
    subscribe(&bus, "one", 0, true).await.ok(200);
    publish_posts(&bus, 1, 2).await;
    let held = async || row(&world, &bus, "one").await.filter(|row| row["lostTail"] == json!(true));
    let held = eventually("it is held", held).await;
    assert!(held["lastError"].as_str().unwrap().contains("lost its tail"), "{held}");
    publish_posts(&bus, 3, 9).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), one.was_sent(2)).await.is_err(),
        "nothing is delivered"
    );
    subscribe(&bus, "one", 0, true).await.ok(200);
    acknowledges(&world, &bus, "one", 9).await;
}

#[tokio::test]
async fn a_log_that_has_grown_again_is_known_by_the_event_at_the_consumers_place() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    publish_posts(&bus, 1, 5).await;
    let events = log(&world, &bus, "").await;
    let register = |cursor: i64, id: &Value| json!({"name": "one", "url": "http://one/events", "cursor": seq(cursor), "lastId": id, "batch": true});
    bus.post("/subscriptions", &register(3, &json!("of-another-log"))).await.problem(ProblemKind::Conflict);
    bus.post("/subscriptions", &register(3, &events[3]["id"])).await.problem(ProblemKind::Conflict);
    assert!(one.deliveries().is_empty());
    bus.post("/subscriptions", &register(3, &events[2]["id"])).await.ok(200);
    acknowledges(&world, &bus, "one", 5).await;
    bus.post("/subscriptions", &register(5, &json!("of-another-log"))).await.problem(ProblemKind::Conflict);
    publish_posts(&bus, 6, 6).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), one.was_sent(2)).await.is_err(), "it is held");
    bus.post("/subscriptions", &register(5, &events[4]["id"])).await.ok(200);
    acknowledges(&world, &bus, "one", 6).await;
    // Without events there is none to name, and nothing to doubt.
    bus.post("/subscriptions", &register(0, &json!(null))).await.ok(200);
    acknowledges(&world, &bus, "one", 6).await;
}

#[tokio::test]
async fn a_log_that_comes_back_shorter_suspends_saved_subscriptions_from_the_start() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    publish_posts(&bus, 1, 3).await;
    subscribe(&bus, "one", 0, true).await.ok(200);
    acknowledges(&world, &bus, "one", 3).await;
    world.stop(bus).await;
    world.execute(ServiceName::EventBus, "DELETE FROM events WHERE seq > 1");

    let bus = world.start_bus().await;
    let held = row(&world, &bus, "one").await.unwrap();
    assert_eq!((&held["lostTail"], &held["cursor"], &held["lag"]), (&json!(true), &json!(seq(3)), &json!(0)));
    assert!(held["lastError"].as_str().unwrap().contains("lost its tail"), "{held}");
    publish_posts(&bus, 2, 6).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), one.was_sent(2)).await.is_err(), "it is held");
    subscribe(&bus, "one", 1, true).await.ok(200);
    acknowledges(&world, &bus, "one", 6).await;
    assert_eq!(one.sequences(), [vec![1, 2, 3], vec![2, 3, 4, 5, 6]]);
}
