//! One test for each crash point.

use crate::process::System;
use serde_json::{Value, json};
use shared::ServiceName::{self, EventBus, Moderation, Posts, Query};
use testkit::eventually;

const OUTBOX: &str = "SELECT count(*) FROM outbox";
const CURSOR: &str = "SELECT coalesce(max(seq), 0) FROM cursor";

/// The types of the events in the log, in order.
async fn kinds(system: &System) -> Vec<String> {
    system.log().await.iter().map(|e| e["type"].as_str().expect("a type").to_owned()).collect()
}

/// A complete event.
fn event(id: &str, kind: &str, data: &Value) -> Value {
    json!({"specversion": "1.0", "id": id, "source": if kind == "PostCreated" { "/posts" } else { "/comments" },
        "type": kind, "data": data})
}

fn three_posts() -> Value {
    (1..=3)
        .map(|n| event(&n.to_string(), "PostCreated", &json!({"id": format!("p{n}"), "title": "T"})))
        .collect()
}

/// Posts dies at this crash point while it creates a post; returns how many posts its file contains then.
async fn posts_dies_while_it_creates(at: &str) -> i64 {
    let mut system = System::new();
    system.start_to_die(Posts, at).await;
    let body = json!({"title": "Written once"});
    assert!(system.post(Posts, "/posts/create", Some("key"), &body).await.is_none(), "no answer");
    system.dies(Posts).await;
    let kept = system.number(Posts, "SELECT count(*) FROM posts");
    assert_eq!(system.number(Posts, OUTBOX), kept, "the post and its event, or neither");

    system.start(EventBus).await;
    system.start(Posts).await;
    let again = system.post(Posts, "/posts/create", Some("key"), &body).await.expect("an answer");
    assert_eq!(again.status, 201, "{}", again.body);
    eventually("it is published", async || (system.number(Posts, OUTBOX) == 0).then_some(())).await;
    let log = system.log().await;
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0]["data"]["id"], again.body["id"]);
    let posts = system.get(Posts, "/posts").await;
    assert_eq!(posts.as_object().map(serde_json::Map::len), Some(1), "{posts}");
    kept
}

#[tokio::test]
async fn a_create_that_dies_before_its_commit_has_never_been() {
    assert_eq!(posts_dies_while_it_creates("before-commit").await, 0);
}

#[tokio::test]
async fn a_create_that_dies_after_its_commit_and_before_its_answer_is_done_once() {
    assert_eq!(posts_dies_while_it_creates("after-commit").await, 1);
}

#[tokio::test]
async fn an_event_whose_outbox_row_outlives_its_publication_is_in_the_log_once() {
    let mut system = System::new();
    system.start(EventBus).await;
    system.start_to_die(Posts, "after-publish").await;
    let created = system.post(Posts, "/posts/create", None, &json!({"title": "T"})).await;
    // The answer and the relay run concurrently: the process may die before it has answered.
    assert!(created.is_none_or(|answer| answer.status == 201));
    system.dies(Posts).await;
    assert_eq!((system.log().await.len(), system.number(Posts, OUTBOX)), (1, 1));
    system.start(Posts).await;
    eventually("it is published again", async || (system.number(Posts, OUTBOX) == 0).then_some(())).await;
    assert_eq!(system.log().await.len(), 1);
}

/// The bus dies at this crash point while it appends; returns how many events its file contains then.
async fn the_bus_dies_while_it_appends(at: &str) -> i64 {
    let mut system = System::new();
    system.start_to_die(EventBus, at).await;
    assert!(system.post(EventBus, "/events", None, &three_posts()).await.is_none(), "no answer");
    system.dies(EventBus).await;
    let kept = system.number(EventBus, "SELECT count(*) FROM events");
    system.start(EventBus).await;
    assert_eq!(system.log().await.len() as i64, kept);
    let again = system.post(EventBus, "/events", None, &three_posts()).await.expect("an answer");
    let places: Vec<i64> = again.body["sequences"]
        .as_array()
        .expect("sequences")
        .iter()
        .map(|s| s.as_str().and_then(|s| s.parse().ok()).expect("a sequence"))
        .collect();
    assert_eq!(places, [1, 2, 3]);
    assert_eq!(system.log().await.len(), 3);
    kept
}

#[tokio::test]
async fn an_append_that_dies_before_its_commit_has_never_been() {
    assert_eq!(the_bus_dies_while_it_appends("before-commit").await, 0);
}

#[tokio::test]
async fn an_append_that_dies_after_its_commit_and_before_its_answer_is_done_once() {
    assert_eq!(the_bus_dies_while_it_appends("after-commit").await, 3);
}

/// Moderation dies at this crash point while it applies a comment; returns its cursor then.
async fn moderation_dies_while_it_applies(at: &str) -> i64 {
    let mut system = System::new();
    system.start(EventBus).await;
    system.start_to_die(Moderation, at).await;
    let comment = json!({"id": "c1", "content": "nice", "postId": "p1", "status": "pending"});
    let published = system.post(EventBus, "/events", None, &event("1", "CommentCreated", &comment)).await;
    assert_eq!(published.expect("an answer").status, 200);
    system.dies(Moderation).await;
    let cursor = system.number(Moderation, CURSOR);
    for table in ["verdicts", "outbox"] {
        let rows = system.number(Moderation, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(
            rows, cursor,
            "what the event changed, what it caused and the cursor, or nothing: {table}"
        );
    }
    assert_eq!(kinds(&system).await, ["CommentCreated"]);
    system.start(Moderation).await;
    // The bus delivers its own verdict to it, too.
    eventually("it has caught up", async || (system.number(Moderation, CURSOR) == 2).then_some(())).await;
    eventually("its outbox is empty", async || (system.number(Moderation, OUTBOX) == 0).then_some(())).await;
    assert_eq!(kinds(&system).await, ["CommentCreated", "CommentModerated"]);
    assert_eq!(system.number(Moderation, "SELECT count(*) FROM verdicts"), 1);
    cursor
}

#[tokio::test]
async fn a_delivery_that_dies_before_its_commit_is_applied_later() {
    assert_eq!(moderation_dies_while_it_applies("before-commit").await, 0);
}

#[tokio::test]
async fn a_delivery_that_dies_after_its_commit_and_before_its_answer_takes_effect_once() {
    assert_eq!(moderation_dies_while_it_applies("after-commit").await, 1);
}

#[tokio::test]
async fn a_delivery_that_the_bus_forgets_is_made_again_and_changes_nothing() {
    let mut system = System::new();
    system.start_to_die(EventBus, "after-delivery").await;
    system.start(Query).await;
    let subscribed = "SELECT count(*) FROM subscriptions WHERE name = 'query'";
    eventually("the bus knows query", async || (system.number(EventBus, subscribed) == 1).then_some(()))
        .await;
    system.post(EventBus, "/events", None, &three_posts()).await;
    system.dies(EventBus).await;
    let cursor = "SELECT cursor FROM subscriptions WHERE name = 'query'";
    assert_eq!((system.number(Query, CURSOR), system.number(EventBus, cursor)), (3, 0));
    let before = system.get(Query, "/posts").await;
    assert_eq!(before.as_object().map(serde_json::Map::len), Some(3));
    system.start(EventBus).await;
    eventually("the bus knows it again", async || (system.number(EventBus, cursor) == 3).then_some(())).await;
    assert_eq!(system.get(Query, "/posts").await, before);
    assert_eq!((system.number(Query, CURSOR), system.log().await.len()), (3, 3));
}

const SAVED: &str = "SELECT cursor FROM subscriptions WHERE name = 'posts'";

/// Publishes a comment and a post, one after the other, once posts is subscribed. Only the second concerns posts.
async fn a_comment_and_then_a_post(system: &System, before_the_post: impl AsyncFnOnce()) {
    let subscribed = "SELECT count(*) FROM subscriptions WHERE name = 'posts'";
    eventually("the bus knows posts", async || (system.number(EventBus, subscribed) == 1).then_some(()))
        .await;
    let comment = json!({"id": "c1", "content": "nice", "postId": "p1", "status": "pending"});
    system.post(EventBus, "/events", None, &event("1", "CommentCreated", &comment)).await.expect("an answer");
    before_the_post().await;
    let post = json!({"id": "p1", "title": "T"});
    system.post(EventBus, "/events", None, &event("2", "PostCreated", &post)).await.expect("an answer");
}

/// Waits until a service has applied both, and checks that the post is there once.
async fn both_are_applied(system: &System) {
    eventually("it has caught up", async || (system.number(Posts, CURSOR) == 2).then_some(())).await;
    eventually("the bus knows", async || (system.number(EventBus, SAVED) == 2).then_some(())).await;
    assert_eq!(system.number(Posts, "SELECT count(*) FROM posts"), 1);
    assert_eq!((system.log().await.len(), system.number(Posts, OUTBOX)), (2, 0));
}

#[tokio::test]
async fn a_consumer_that_forgets_what_did_not_concern_it_is_served_from_its_own_cursor() {
    let mut system = System::new();
    system.start(EventBus).await;
    system.start_to_die(Posts, "before-lazy-commit").await;
    a_comment_and_then_a_post(&system, async || {
        // The bus has the consumer's answer, and has saved it; the consumer has nothing on disk.
        eventually("the bus has saved it", async || (system.number(EventBus, SAVED) == 1).then_some(()))
            .await;
    })
    .await;
    system.dies(Posts).await;
    assert_eq!((system.number(EventBus, SAVED), system.number(Posts, CURSOR)), (1, 0));
    system.start(Posts).await;
    both_are_applied(&system).await;
}

/// A service dies with the first lazy writes that it would commit by themselves, whatever they are, and starts again.
async fn dies_with_its_lazy_writes(name: ServiceName) -> System {
    let mut system = System::new();
    for service in [EventBus, Posts] {
        if service == name {
            system.start_to_die(service, "before-lazy-commit").await;
        } else {
            system.start(service).await;
        }
    }
    let created = system.post(Posts, "/posts/create", None, &json!({"title": "T"})).await;
    assert_eq!(created.expect("an answer").status, 201);
    system.dies(name).await;
    system
}

#[tokio::test]
async fn an_outbox_row_whose_deletion_is_lost_is_published_again_and_is_in_the_log_once() {
    let mut system = dies_with_its_lazy_writes(Posts).await;
    assert_eq!((system.log().await.len(), system.number(Posts, OUTBOX)), (1, 1));
    system.start(Posts).await;
    eventually("it is published again", async || (system.number(Posts, OUTBOX) == 0).then_some(())).await;
    assert_eq!((system.log().await.len(), system.number(Posts, "SELECT count(*) FROM posts")), (1, 1));
}

#[tokio::test]
async fn a_bus_that_forgets_the_cursors_it_has_saved_lazily_loses_and_doubles_nothing() {
    let mut system = dies_with_its_lazy_writes(EventBus).await;
    let kept = system.number(EventBus, "SELECT count(*) FROM events");
    system.start(EventBus).await;
    eventually("the bus knows", async || (system.number(EventBus, SAVED) == 1).then_some(())).await;
    eventually("the outbox is empty", async || (system.number(Posts, OUTBOX) == 0).then_some(())).await;
    assert_eq!((system.log().await.len(), system.number(Posts, CURSOR)), (1, 1));
    assert!(kept <= 1);
    assert_eq!(system.number(Posts, "SELECT count(*) FROM posts"), 1);
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_process_and_what_it_acknowledged_is_there() {
    let mut system = System::new();
    system.start(EventBus).await;
    system.start_with_small_files(Posts, 600).await;
    let body = "words ".repeat(7_000);
    let mut acknowledged = 0;
    let refused = loop {
        let answer = system
            .post(
                Posts,
                "/posts/create",
                None,
                &json!({"title": format!("post {acknowledged}"), "body": body}),
            )
            .await
            .expect("an answer");
        if answer.status != 201 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 100, "its disk fails");
    };
    assert!(acknowledged > 0 && refused.status == 503 && refused.retry_after, "{refused:?}");
    let status = system.end_of(Posts).await;
    assert_eq!(status.code(), Some(1), "{}", system.output(Posts));
    let output = system.output(Posts);
    assert!(
        output.contains("the store has failed for good") && output.contains("disk I/O error"),
        "{output}"
    );

    system.start(Posts).await;
    let posts = system.get(Posts, "/posts").await;
    assert_eq!(posts.as_object().map(serde_json::Map::len), Some(acknowledged));
    eventually("all are published", async || (system.number(Posts, OUTBOX) == 0).then_some(())).await;
    let known = "SELECT max(seq) FROM events";
    assert_eq!(system.number(EventBus, known), acknowledged as i64);
    let more = system.post(Posts, "/posts/create", None, &json!({"title": "On a good disk"})).await;
    assert_eq!(more.expect("an answer").status, 201);
}
