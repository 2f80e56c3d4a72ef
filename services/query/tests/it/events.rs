//! `POST /events` and the dead letters.

use crate::{read_model, start};
use http::Method;
use serde_json::json;
use testkit::{World, checks};

#[tokio::test]
async fn only_the_bus_delivers() {
    let world = World::secure();
    let query = start(&world).await;
    checks::signed_deliveries_only(&world, &query).await;
}

#[tokio::test]
async fn what_is_no_event_changes_nothing() {
    let world = World::new();
    let query = start(&world).await;
    checks::no_events(&world, &query).await;
    checks::unknown_routes(&query).await;
}

#[tokio::test]
async fn deliveries_are_applied_once_and_in_order() {
    let world = World::secure();
    let query = start(&world).await;
    checks::delivery(&world, &query).await;
    assert_eq!(read_model(&world, &query).await.lines().count(), 3, "a, b and c; f was forged");
}

#[tokio::test]
async fn dead_letters_are_the_operators() {
    let world = World::secure();
    let query = start(&world).await;
    let routes = [
        (Method::GET, "/dead-letters"),
        (Method::POST, "/dead-letters/1/redrive"),
        (Method::POST, "/dead-letters/1/discard"),
    ];
    checks::operator_only(&world, &query, &routes).await;
}

#[tokio::test]
async fn reading_takes_no_writes() {
    let world = World::new();
    let query = start(&world).await;
    for path in ["/posts", "/query/posts/p1", "/live", "/read-model"] {
        let reply = query.post(path, &json!({"title": "T"})).await;
        reply.problem(shared::ProblemKind::MethodNotAllowed);
        assert_eq!(reply.header("allow"), "GET,HEAD");
    }
}
