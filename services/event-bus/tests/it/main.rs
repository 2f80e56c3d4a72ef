//! The event bus through its real router, with a real log, and subscribers that do as the test says.

#![allow(clippy::disallowed_methods, reason = "tests use the runtime, its clock and threads directly")]

mod course;
mod damage;
mod delivery;
mod instances;
mod jetstream;
mod lost_tail;
mod publish;
mod read;
mod security;
mod stream;
mod subscriber;
mod subscriptions;

use serde_json::{Value, json};
use shared::{Sequence, ServiceName};
use testkit::{Reply, Running, World, eventually, get, holds, post};

/// A bare event of a post, as the course's services publish it.
fn bare(n: i64) -> Value {
    json!({"type": "PostCreated", "data": {"id": format!("p{n}"), "title": format!("post {n}")}})
}

/// Publishes posts, one by one or as a batch, and gives back the answer.
async fn publish(bus: &Running, body: &Value) -> Reply {
    let reply = bus.post("/events", body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

/// Publishes the posts with these numbers in one batch.
async fn publish_posts(bus: &Running, from: i64, to: i64) {
    publish(bus, &(from..=to).map(bare).collect()).await;
}

/// The log, read with these parameters.
async fn log(world: &World, bus: &Running, query: &str) -> Vec<Value> {
    let reply = bus.send(get(format!("/events{query}")).as_operator(world)).await;
    reply.ok(200).as_array().unwrap().clone()
}

/// A sequence as it stands in JSON.
fn seq(n: i64) -> String {
    Sequence::new(n).to_string()
}

/// Registers a subscriber at `http://{name}/events`.
async fn subscribe(bus: &Running, name: &str, cursor: i64, batch: bool) -> Reply {
    let url = format!("http://{name}/events");
    bus.post("/subscriptions", &json!({"name": name, "url": url, "cursor": seq(cursor), "batch": batch}))
        .await
}

/// The row of a subscriber, if it is subscribed.
async fn row(world: &World, bus: &Running, name: &str) -> Option<Value> {
    let rows = bus.send(get("/subscriptions").as_operator(world)).await.ok(200);
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned()
}

/// Waits until a subscriber has acknowledged everything up to a place.
async fn acknowledges(world: &World, bus: &Running, name: &str, cursor: i64) -> Value {
    let cursor = json!(seq(cursor));
    let look = async || holds(row(world, bus, name).await.unwrap_or_default(), |row| row["cursor"] == cursor);
    eventually("it has acknowledged them", look).await
}

/// A world with a bus that runs without secrets.
async fn insecure() -> (World, Running) {
    let world = World::new();
    let bus = world.start_bus().await;
    (world, bus)
}

/// Stops the bus and starts it again.
async fn restart(world: &World, bus: Running) -> Running {
    world.stop(bus).await;
    world.start_bus().await
}

/// Everything the bus has stored of events.
fn stored(world: &World) -> Vec<String> {
    world.rows(ServiceName::EventBus, "SELECT * FROM events ORDER BY seq")
}

/// Discards a subscription as an operator does.
async fn unsubscribe(world: &World, bus: &Running, name: &str) -> Reply {
    bus.send(testkit::delete(format!("/subscriptions/{name}")).as_operator(world)).await
}

/// A publication that is signed.
fn signed(world: &World, service: ServiceName, body: &Value) -> testkit::Ask {
    post("/events").json(body).signed(world, service, kit::messaging::signature::Direction::Publish)
}
