//! The outcome is the same for every order and repetition of the same events: byte for byte.

use crate::{read_model, start};
use http::Method;
use proptest::prelude::*;
use serde_json::json;
use shared::events::{CommentCreated, CommentUpdated, PostCreated, Status};
use shared::{Envelope, Event, Timestamp};
use testkit::events::{comment_created, comment_moderated, comment_updated, post_created, published};
use testkit::{World, checks};

#[tokio::test]
async fn it_is_the_operators() {
    let world = World::secure();
    let query = start(&world).await;
    checks::operator_only(&world, &query, &[(Method::GET, "/read-model")]).await;
    assert_eq!(read_model(&world, &query).await, "");
}

/// What becomes of these events, delivered without a place in the log, in batches of these sizes.
fn outcome(events: &[Envelope], sizes: &[usize]) -> (String, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        let query = start(&world).await;
        let mut rest = events;
        for size in sizes.iter().copied().chain(std::iter::repeat(usize::MAX)) {
            let (batch, after) = rest.split_at(size.min(rest.len()));
            assert_eq!(query.deliver(&world, batch).await.ok(200), json!({}));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(query.get("/dead-letters").await.ok(200), json!([]));
        (read_model(&world, &query).await, query.get("/posts").await.text().to_owned())
    })
}

/// Posts and comments as they really come about, one of each fate.
fn history() -> Vec<Event> {
    let mut events =
        vec![post_created("p1", "one", 1), post_created("p2", "two", 1), post_created("p3", "ä\"", 0)];
    for (n, status) in [Status::Approved, Status::Rejected, Status::Approved].into_iter().enumerate() {
        let (id, post) = (format!("c{n}"), format!("p{}", n % 2 + 1));
        events.push(comment_created(&id, &post, &format!("text {n}"), 2));
        events.push(comment_moderated(&id, &post, &format!("text {n}"), status));
        events.push(comment_updated(&id, &post, &format!("text {n}"), status));
    }
    events.push(comment_created("c7", "p1", "waits", 9));
    events.push(comment_created("c8", "never-written", "is an orphan", 9));
    events.push(comment_updated("c9", "p2", "was never created", Status::Approved));
    events
}

/// Each with an id of its own, as from our bus, or bare, as from the course's.
fn enveloped(events: &[Event], bare: bool) -> Vec<Envelope> {
    let with_id = |(n, e)| published(e, &format!("event-{n}"));
    if bare {
        events.iter().map(|e| Envelope::bare(e).unwrap()).collect()
    } else {
        events.iter().enumerate().map(with_id).collect()
    }
}

/// Any events about few things, so that they contradict each other.
fn any_event() -> impl Strategy<Value = Event> {
    let time = prop::option::of((0..3_i64).prop_map(Timestamp::from_unix_ms));
    let post_id = "[pq]".prop_map(|id| id.parse().unwrap());
    let comment_id = || "[cd]".prop_map(|id| id.parse().unwrap());
    let version = prop::option::of(0..4_u32);
    let status = prop::sample::select(vec![Status::Pending, Status::Approved, Status::Rejected]);
    let reason = prop::option::of("[rs]");
    prop_oneof![
        (post_id.clone(), "[ab]", "[xy]?", "[xy]?", time.clone(), version.clone()).prop_map(
            |(id, title, body, author, created_at, version)| {
                PostCreated { id, title, body, author, created_at, version }.into()
            }
        ),
        (comment_id(), "[ab]", post_id.clone(), prop::option::of("[kl]"), "[xy]?", time, version.clone())
            .prop_map(|(id, content, post_id, author_key, author, created_at, version)| {
                let status = Status::Pending;
                CommentCreated { id, content, post_id, status, author, author_key, created_at, version }
                    .into()
            }),
        (comment_id(), "[ab]", post_id, status, reason, version).prop_map(
            |(id, content, post_id, status, reason, version)| {
                CommentUpdated { id, content, post_id, status, reason, version }.into()
            }
        ),
    ]
}

/// These, each up to three times, in any order.
fn shuffled(events: Vec<Envelope>) -> impl Strategy<Value = Vec<Envelope>> {
    let len = events.len();
    prop::collection::vec(1..=3_usize, len)
        .prop_map(move |times| {
            times.into_iter().zip(&events).flat_map(|(n, e)| vec![e.clone(); n]).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_order_and_repetition_of_a_history_gives_the_same_read_model(
        (bare, events) in any::<bool>().prop_flat_map(|bare| (Just(bare), shuffled(enveloped(&history(), bare)))),
        sizes in prop::collection::vec(1..8_usize, 0..6),
    ) {
        let expected = outcome(&enveloped(&history(), bare), &[]);
        prop_assert_eq!(outcome(&events, &sizes), expected);
    }

    #[test]
    fn every_order_and_repetition_of_any_events_gives_the_same_read_model(
        (events, shuffled) in prop::collection::vec(any_event(), 1..12).prop_flat_map(|events| {
            let events = enveloped(&events, true);
            (Just(events.clone()), shuffled(events))
        }),
        sizes in prop::collection::vec(1..8_usize, 0..6),
    ) {
        prop_assert_eq!(outcome(&shuffled, &sizes), outcome(&events, &[]));
    }
}
