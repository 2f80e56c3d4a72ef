//! `POST /events` and the dead letters.

use crate::{outbox, start};
use http::Method;
use serde_json::json;
use shared::ServiceName;
use shared::events::Status;
use testkit::events::{comment_created, comment_moderated, comment_updated, log_from, post_created};
use testkit::{World, checks};

#[tokio::test]
async fn only_the_bus_delivers() {
    let world = World::secure();
    let posts = start(&world).await;
    checks::signed_deliveries_only(&world, &posts).await;
}

#[tokio::test]
async fn what_is_no_event_changes_nothing() {
    let world = World::new();
    let posts = start(&world).await;
    checks::no_events(&world, &posts).await;
}

#[tokio::test]
async fn deliveries_are_applied_once_and_in_order() {
    let world = World::secure();
    let posts = start(&world).await;
    checks::delivery(&world, &posts).await;
}

#[tokio::test]
async fn dead_letters_are_the_operators() {
    let world = World::secure();
    let posts = start(&world).await;
    let routes = [
        (Method::GET, "/dead-letters"),
        (Method::POST, "/dead-letters/1/redrive"),
        (Method::POST, "/dead-letters/1/discard"),
    ];
    checks::operator_only(&world, &posts, &routes).await;
}

#[tokio::test]
async fn only_its_own_events_concern_it_and_they_publish_nothing() {
    let world = World::new();
    let posts = start(&world).await;
    // As a simple bus sends them: bare, one by one, and some of them twice.
    for _ in 0..2 {
        let bare = json!({"type": "PostCreated", "data": {"id": "p1", "title": "From the log"}});
        assert_eq!(posts.post("/events", &bare).await.ok(200), json!({}));
    }
    assert_eq!(
        posts.get("/posts").await.ok(200),
        json!({"p1": {"id": "p1", "title": "From the log"}}),
        "as the course has it, with nothing made up"
    );
    let before = world.rows(ServiceName::Posts, "SELECT * FROM posts");
    let others = [
        comment_created("c1", "p1", "hi", 1),
        comment_moderated("c1", "p1", "hi", Status::Approved),
        comment_updated("c1", "p1", "hi", Status::Approved),
        post_created("p1", "the first one stays", 5),
    ];
    assert_eq!(posts.deliver(&world, &log_from(1, &others)).await.ok(200), json!({}));
    assert_eq!(world.rows(ServiceName::Posts, "SELECT * FROM posts"), before);
    assert!(outbox(&world).is_empty());
}
