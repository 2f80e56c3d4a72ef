//! The comments service through its real router, with a real store and, where it matters, a real bus.

#![allow(clippy::disallowed_methods, reason = "tests use the runtime, its clock and threads directly")]

mod bad_input;
mod bus;
mod create;
mod events;
mod idempotency;
mod long_threads;
mod prefer;
mod read;

use serde_json::{Value, json};
use shared::ServiceName;
use testkit::{Ask, Reply, Running, World, get, post};

const COMMENTS: &str = "/posts/p1/comments";

async fn start(world: &World) -> Running {
    world.start(world.config(ServiceName::Comments), comments::build).await
}

/// Tells the service of a post, as a simple bus does.
async fn add_post(comments: &Running, id: &str) {
    let event = json!({"type": "PostCreated", "data": {"id": id, "title": "T"}});
    assert_eq!(comments.post("/events", &event).await.ok(200), json!({}));
}

/// Tells the service of a verdict.
async fn moderate(comments: &Running, id: &Value, status: &str) {
    let data = json!({"id": id, "postId": "p1", "content": "as it was", "status": status});
    let event = json!({"type": "CommentModerated", "data": data});
    assert_eq!(comments.post("/events", &event).await.ok(200), json!({}));
}

/// A request for a comment on the post `p1`.
fn say(content: &str) -> Ask {
    post(COMMENTS).json(&json!({ "content": content }))
}

/// The comment that an answer says is new: the last one.
fn last(reply: &Reply) -> Value {
    reply.ok(201).as_array().and_then(|all| all.last().cloned()).expect("the new comment")
}

/// The comments of the post `p1`, as this cookie's writer sees them.
async fn seen_by(comments: &Running, cookie: Option<&str>) -> Value {
    let ask = get(COMMENTS);
    comments.send(cookie.map_or(ask.clone(), |c| ask.cookie(c))).await.ok(200)
}

/// The events that the service has made and not yet brought to the bus.
fn outbox(world: &World) -> Vec<Value> {
    let rows = world.rows(ServiceName::Comments, "SELECT envelope FROM outbox ORDER BY seq");
    let text = |row: &String| serde_json::from_str::<String>(row).unwrap_or_else(|_| panic!("{row}"));
    rows.iter().map(|row| serde_json::from_str(&text(row)).unwrap()).collect()
}
