//! The query service through its real router, with a real store and, where it matters, a real bus.

#![allow(clippy::disallowed_methods, reason = "tests use the runtime, its clock and threads directly")]

mod bus;
mod events;
mod live;
mod post;
mod posts;
mod read_model;
mod replicas;

use http::HeaderMap;
use kit::http::author::AuthorToken;
use serde_json::Value;
use shared::events::{CommentCreated, Status};
use shared::{Event, ServiceName};
use testkit::events::{comment_created, comment_updated, log_from};
use testkit::{Running, World, get};

async fn start(world: &World) -> Running {
    world.start(world.config(ServiceName::Query).into(), query::build).await
}

/// Delivers events that stand in the log from the place `first` on.
async fn deliver(world: &World, query: &Running, first: i64, events: &[Event]) {
    query.deliver(world, &log_from(first, events)).await.ok(200);
}

/// A comment and the verdict on it.
fn judged(id: &str, post: &str, content: &str, n: i64, status: Status) -> [Event; 2] {
    [comment_created(id, post, content, n), comment_updated(id, post, content, status)]
}

/// A comment by whoever shows this cookie.
fn comment_by(cookie: &str, id: &str, post: &str, content: &str, n: i64) -> Event {
    let headers: HeaderMap = [(http::header::COOKIE, cookie.parse().unwrap())].into_iter().collect();
    let key = AuthorToken::from_headers(&headers).map(|token| token.key());
    let Event::CommentCreated(comment) = comment_created(id, post, content, n) else { unreachable!() };
    CommentCreated { author_key: key, author: "Ada".into(), ..comment }.into()
}

/// The whole read model as text.
async fn read_model(world: &World, query: &Running) -> String {
    let reply = query.send(get("/read-model").as_operator(world)).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/x-ndjson"));
    reply.text().to_owned()
}

/// The members of an array.
fn all(value: &Value, member: &str) -> Vec<Value> {
    value.as_array().unwrap().iter().map(|row| row[member].clone()).collect()
}
