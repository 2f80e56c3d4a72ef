//! `GET /events`: the log as an array.

use crate::{insecure, log, publish_posts, seq};
use serde_json::{Value, json};
use shared::ProblemKind;
use testkit::get;

fn titles(events: &[Value]) -> Vec<&str> {
    events.iter().map(|e| e["data"]["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_course_gets_the_whole_log_as_a_bare_array() {
    let (world, bus) = insecure().await;
    let empty = bus.get("/events").await;
    assert_eq!((empty.ok(200), empty.text()), (json!([]), "[]"));
    publish_posts(&bus, 1, 3).await;
    assert_eq!(titles(&log(&world, &bus, "").await), ["post 1", "post 2", "post 3"]);
}

#[tokio::test]
async fn five_thousand_events_are_streamed_in_order() {
    let (world, bus) = insecure().await;
    publish_posts(&bus, 1, 2_500).await;
    publish_posts(&bus, 2_501, 5_000).await;
    let reply = bus.get("/events").await;
    let events = reply.ok(200);
    let sequences: Vec<_> = events.as_array().unwrap().iter().map(|e| e["sequence"].clone()).collect();
    assert_eq!(sequences, (1..=5_000).map(|n| json!(seq(n))).collect::<Vec<_>>());
    assert!(!reply.headers.contains_key("content-length"), "its length is not known when it begins");
    let chunks = bus.chunks(get("/events")).await;
    assert!(chunks.len() >= 5, "{} chunks", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.len() < 1_100_000));
    assert_eq!(chunks.concat(), reply.body);
    assert_eq!(log(&world, &bus, "?limit=4321").await.len(), 4_321);
}

#[tokio::test]
async fn large_events_come_in_small_pieces() {
    let (world, bus) = insecure().await;
    let large = json!({"type": "Any", "data": "x".repeat(900_000)});
    for _ in 0..6 {
        bus.post("/events", &large).await.ok(200);
    }
    let chunks = bus.chunks(get("/events")).await;
    assert!(chunks.iter().all(|chunk| chunk.len() < 2_100_000), "a page of the log is bounded in bytes");
    assert_eq!(log(&world, &bus, "").await.len(), 6);
}

#[tokio::test]
async fn it_is_read_on_from_a_place() {
    let (world, bus) = insecure().await;
    publish_posts(&bus, 1, 12).await;
    let read = async |query: &str| {
        let events = log(&world, &bus, query).await;
        events.iter().map(|e| e["sequence"].as_str().unwrap().parse::<i64>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(read("?after=9").await, [10, 11, 12]);
    assert_eq!(read("?after=00000000000000000010").await, [11, 12]);
    assert_eq!(read("?limit=2").await, [1, 2]);
    assert_eq!(read("?after=3&limit=4").await, [4, 5, 6, 7]);
    assert_eq!(read("?after=11&limit=10000").await, [12]);
    for beyond in ["?after=12", "?after=13", "?after=9223372036854775807"] {
        assert_eq!(read(beyond).await, Vec::<i64>::new());
    }
    assert_eq!(read("?after=0&x=y").await.len(), 12);
    for bad in ["after=x", "after=", "after=-1", "after=1.5", "after=99999999999999999999", "after=1&after=2"]
    {
        bus.get(&format!("/events?{bad}")).await.problem(ProblemKind::BadRequest);
    }
    for bad in ["limit=0", "limit=10001", "limit=-1", "limit=x", "limit="] {
        bus.get(&format!("/events?{bad}")).await.problem(ProblemKind::BadRequest);
    }
}

#[tokio::test]
async fn there_are_no_other_routes() {
    let (_world, bus) = insecure().await;
    for path in ["/", "/posts", "/events/1", "/subscriptions/", "/dead-letters", "/read-model"] {
        bus.get(path).await.problem(ProblemKind::NotFound);
    }
    for path in ["/events", "/subscriptions"] {
        bus.send(testkit::delete(path)).await.problem(ProblemKind::MethodNotAllowed);
    }
    assert_eq!(bus.get("/readyz").await.status, 200);
}
