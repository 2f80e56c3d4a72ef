//! `POST /events`: posts, verdicts, and its own past.

use crate::{add_post, last, outbox, say, seen_by, start};
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::events::Status;
use shared::{Envelope, Event, ServiceName};
use testkit::events::{
    comment_created, comment_moderated, comment_updated, log_from, logged, post_created, published,
};
use testkit::{World, checks, get};

#[tokio::test]
async fn only_the_bus_delivers() {
    let world = World::secure();
    let comments = start(&world).await;
    checks::signed_deliveries_only(&world, &comments).await;
}

#[tokio::test]
async fn what_is_no_event_changes_nothing() {
    let world = World::new();
    let comments = start(&world).await;
    checks::no_events(&world, &comments).await;
}

#[tokio::test]
async fn deliveries_are_applied_once_and_in_order() {
    let world = World::secure();
    let comments = start(&world).await;
    checks::delivery(&world, &comments).await;
}

#[tokio::test]
async fn dead_letters_are_the_operators() {
    let world = World::secure();
    let comments = start(&world).await;
    let routes = [
        (Method::GET, "/dead-letters"),
        (Method::POST, "/dead-letters/1/redrive"),
        (Method::POST, "/dead-letters/1/discard"),
    ];
    checks::operator_only(&world, &comments, &routes).await;
}

#[tokio::test]
async fn a_verdict_is_taken_once_and_told_once() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let id = last(&comments.send(say("an orange")).await)["id"].as_str().unwrap().to_owned();
    let mut verdict = published(&comment_moderated(&id, "p1", "an orange", Status::Rejected), "verdict-1");
    verdict.correlationid = Some("the-command".into());
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    verdict.traceparent = Some(trace.into());
    world.clock.advance_ms(7);
    comments.post("/events", &verdict).await.ok(200);

    let [_, told] = &outbox(&world)[..] else { panic!("two events") };
    let same_trace = told["traceparent"].as_str().unwrap();
    assert!(same_trace.starts_with(&trace[..36]), "{same_trace}");
    let expected = json!({
        "specversion": "1.0", "id": told["id"], "source": "/comments", "type": "CommentUpdated", "subject": "p1",
        "time": "2027-01-15T08:00:00.007Z", "datacontenttype": "application/json",
        "dataschema": "/schemas/CommentUpdated/1", "partitionkey": "p1", "correlationid": "the-command",
        "causationid": "verdict-1", "traceparent": same_trace,
        "data": {"id": id, "content": "an orange", "postId": "p1", "status": "rejected", "reason": "a reason", "version": 2}
    });
    assert_eq!(*told, expected);

    // The same verdict in another event says nothing that was not said; the opposite one comes too late.
    let same = published(&comment_moderated(&id, "p1", "an orange", Status::Rejected), "verdict-1");
    let opposite = published(&comment_moderated(&id, "p1", "an orange", Status::Approved), "verdict-2");
    for late in [same, opposite] {
        comments.post("/events", &late).await.ok(200);
        assert_eq!(seen_by(&comments, None).await[0]["status"], "rejected");
        assert_eq!(outbox(&world).len(), 2);
    }
}

#[tokio::test]
async fn a_verdict_that_decides_nothing_is_parked() {
    let world = World::new();
    let comments = start(&world).await;
    let log = log_from(
        1,
        &[
            post_created("p1", "T", 1),
            comment_created("c1", "p1", "x", 2),
            comment_moderated("c1", "p1", "x", Status::Pending),
            comment_moderated("c1", "p1", "x", Status::Approved),
            post_created("p2", "T", 3),
        ],
    );
    comments.deliver(&world, &log).await.ok(200);
    let letters = comments.send(get("/dead-letters")).await.ok(200);
    assert_eq!(letters[0]["error"], "a verdict must be approved or rejected");
    assert_eq!(letters.as_array().unwrap().len(), 2, "the next one of this post waits behind it");
    assert_eq!(seen_by(&comments, None).await[0]["status"], "pending");
    assert!(outbox(&world).is_empty());

    let id = letters[0]["id"].as_i64().unwrap();
    comments.post(&format!("/dead-letters/{id}/discard"), &json!({})).await.ok(200);
    assert_eq!(seen_by(&comments, None).await[0]["status"], "approved");
    let published: Vec<_> = outbox(&world).iter().map(|e| e["type"].clone()).collect();
    assert_eq!(published, ["EventDiscarded", "CommentUpdated"]);
}

#[tokio::test]
async fn a_client_cannot_approve_its_own_comment_by_an_event_of_another_name() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let created = json!({"type": "CommentCreated", "data": {"id": "c1", "postId": "p1", "content": "x", "status": "approved"}});
    comments.post("/events", &created).await.ok(200);
    assert_eq!(
        seen_by(&comments, None).await[0]["status"],
        "pending",
        "a new comment is pending, whatever it says"
    );
}

/// What the service knows of the comments in the end.
async fn told(world: &World, events: &[Event]) -> Value {
    let comments = start(world).await;
    for event in events {
        let bare = Envelope::bare(event).unwrap();
        comments.post("/events", &bare).await.ok(200);
    }
    let seen = seen_by(&comments, None).await;
    world.stop(comments).await;
    seen
}

fn history() -> Vec<Event> {
    vec![
        post_created("p1", "T", 0),
        comment_created("c1", "p1", "one", 1),
        comment_moderated("c1", "p1", "one", Status::Rejected),
        comment_updated("c1", "p1", "one", Status::Rejected),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_comment_comes_to_the_same_in_whatever_order_its_events_arrive(
        order in Just(history()).prop_shuffle(), again in prop::collection::vec(0..4_usize, 0..4)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let expected = told(&World::new(), &history()).await;
            let mut events = order;
            events.extend(again.into_iter().map(|at| history()[at].clone()));
            prop_assert_eq!(told(&World::new(), &events).await, expected);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_verdict_before_its_comment_is_kept_for_it() {
    let world = World::new();
    let comments = start(&world).await;
    let verdict = comment_moderated("c1", "p1", "one", Status::Rejected);
    let log = log_from(1, &[post_created("p1", "T", 0), verdict, comment_created("c1", "p1", "one", 1)]);
    comments.deliver(&world, &log).await.ok(200);
    let seen = seen_by(&comments, None).await;
    assert_eq!((&seen[0]["id"], &seen[0]["status"]), (&json!("c1"), &json!("rejected")));
    assert_eq!(outbox(&world)[0]["data"]["status"], "rejected", "and the others are told");
}

#[tokio::test]
async fn what_it_reads_of_itself_is_not_told_again() {
    let world = World::new();
    let comments = start(&world).await;
    let log = log_from(
        1,
        &[
            post_created("p1", "T", 0),
            comment_created("c1", "p1", "one", 1),
            comment_updated("c1", "p1", "one", Status::Approved),
        ],
    );
    comments.deliver(&world, &log).await.ok(200);
    assert_eq!(seen_by(&comments, None).await[0]["content"], "one");
    assert!(outbox(&world).is_empty());
    // The verdict behind that update makes the same event as it did the first time, under the same id.
    let verdict = logged(&comment_moderated("c1", "p1", "one", Status::Approved), 4);
    comments.deliver(&world, &[verdict]).await.ok(200);
    let rows = world.rows(ServiceName::Comments, "SELECT count(*) FROM outbox");
    assert_eq!(rows, ["1"]);
}
