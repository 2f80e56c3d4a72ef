//! `Idempotency-Key` on comments: one comment, and its first answer again, whatever has happened to it since.

use crate::{COMMENTS, add_post, last, moderate, say, seen_by, start};
use futures_util::future::join_all;
use kit::messaging::signature::Direction;
use serde_json::{Value, json};
use shared::{ProblemKind, ServiceName};
use testkit::{Ask, World, post};

fn keyed(ask: Ask) -> Ask {
    ask.header("idempotency-key", "key-1")
}

#[tokio::test]
async fn the_same_answer_also_after_moderation_and_more_comments() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    // Around it: one that is approved before, one of the same writer and one of another that are judged after.
    let before = comments.send(say("judged before")).await;
    moderate(&comments, &last(&before)["id"], "approved").await;
    let mine = comments.send(say("mine")).await;
    let cookie = mine.cookie().unwrap();
    let theirs = comments.send(say("theirs")).await;
    let first = comments.send(keyed(say("kept")).cookie(&cookie)).await;
    let new = last(&first);
    assert_eq!(first.ok(201).as_array().unwrap().len(), 4);

    let again = async |what: &str| {
        let reply = comments.send(keyed(say(" kept ")).cookie(&cookie)).await;
        assert_eq!((reply.status, last(&reply)), (201, new.clone()), "{what}");
        assert_eq!(reply.header("location"), first.header("location"));
        assert_eq!(reply.cookie(), None);
        reply
    };
    assert_eq!(again("at once").await.text(), first.text());
    moderate(&comments, &new["id"], "rejected").await;
    assert_eq!(again("it was rejected").await.text(), first.text());
    comments.send(say("after it")).await;
    assert_eq!(again("another came after it").await.text(), first.text());
    moderate(&comments, &last(&mine)["id"], "approved").await;
    moderate(&comments, &last(&theirs)["id"], "rejected").await;
    let judged = again("those before it were judged").await;
    let seen = seen_by(&comments, Some(&cookie)).await;
    assert_eq!(
        judged.ok(201).as_array().unwrap()[..3],
        seen.as_array().unwrap()[..3],
        "they are as they are now"
    );
    assert_eq!(world.rows(ServiceName::Comments, "SELECT count(*) FROM comments"), ["5"]);

    world.stop(comments).await;
    let comments = start(&world).await;
    let reply = comments.send(keyed(say("kept")).cookie(&cookie)).await;
    assert_eq!(reply.text(), judged.text(), "after a restart");
}

/// Earlier versions stored the other pending comments with each key. Such rows live for a day after an upgrade.
#[tokio::test]
async fn a_key_that_an_earlier_version_stored_is_known() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let others = [comments.send(say("one")).await, comments.send(say("two")).await];
    let first = comments.send(keyed(say("kept"))).await;
    let pending: Vec<Value> = others.iter().map(|other| last(other)["id"].clone()).collect();
    let old = json!({"id": last(&first)["id"], "pending": pending});
    world.stop(comments).await;
    world.execute(ServiceName::Comments, &format!("UPDATE idempotency SET answer = '{old}'"));
    let comments = start(&world).await;
    assert_eq!(comments.send(keyed(say("kept"))).await.text(), first.text());
}

#[tokio::test]
async fn a_writer_whose_first_answer_was_lost_gets_the_same_body() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let first = comments.send(keyed(say("hi"))).await;
    moderate(&comments, &last(&first)["id"], "approved").await;
    let again = comments.send(keyed(say("hi"))).await;
    assert_eq!(again.text(), first.text());
    assert_eq!(again.ok(201)[0]["mine"], true);
}

/// A key that nobody guesses, as the site's own forms send.
fn unguessable(ask: Ask) -> Ask {
    ask.header("idempotency-key", "01935b7e-8f3a-7c1d-9b2e-5a6f7c8d9e0f")
}

#[tokio::test]
async fn a_writer_whose_first_answer_was_lost_gets_the_same_cookie() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let first = comments.send(unguessable(say("mine"))).await;
    let again = comments.send(unguessable(say("mine"))).await;
    assert_eq!((again.text(), again.cookie()), (first.text(), first.cookie()));
    let read = seen_by(&comments, again.cookie().as_deref()).await;
    assert_eq!((&read[0]["content"], &read[0]["mine"]), (&json!("mine"), &json!(true)));
    let other = comments.send(say("theirs")).await;
    assert!(other.cookie().is_some() && other.cookie() != first.cookie(), "each writer has their own");
}

#[tokio::test]
async fn with_a_secret_the_cookie_is_the_same_after_a_restart_too() {
    let world = World::secure();
    let comments = start(&world).await;
    let event = json!({"type": "PostCreated", "data": {"id": "p1", "title": "T"}});
    let event = post("/events").json(&event).signed(&world, ServiceName::Comments, Direction::Deliver);
    comments.send(event).await.ok(200);
    let first = comments.send(unguessable(say("mine"))).await;
    world.stop(comments).await;
    let comments = start(&world).await;
    let again = comments.send(unguessable(say("mine"))).await;
    assert!(first.cookie().is_some());
    assert_eq!((again.text(), again.cookie()), (first.text(), first.cookie()));
}

#[tokio::test]
async fn a_repeated_request_hands_out_no_cookie_that_is_not_its_writers() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let known = comments.send(say("before")).await.cookie().unwrap();
    let first = comments.send(unguessable(say("mine")).cookie(&known)).await;
    let again = comments.send(unguessable(say("mine"))).await;
    assert_eq!(last(&again), last(&first), "it is the same comment");
    assert_eq!(again.cookie(), None, "its writer had a cookie before");

    let first = comments.send(keyed(say("hi"))).await;
    assert!(first.cookie().is_some());
    let again = comments.send(keyed(say("hi"))).await;
    assert_eq!((last(&again), again.cookie()), (last(&first), None), "others may guess this key");
}

#[tokio::test]
async fn the_same_key_for_something_else_is_refused() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    add_post(&comments, "p2").await;
    comments.send(keyed(say("hi"))).await.ok(201);
    let before = world.dump(ServiceName::Comments);
    let others = [
        say("hi!"),
        post(COMMENTS).json(&json!({"content": "hi", "author": "Ada"})),
        post("/posts/p2/comments").json(&json!({"content": "hi"})),
    ];
    for other in others {
        let reply = comments.send(keyed(other)).await;
        let problem = reply.problem(ProblemKind::Invalid);
        assert_eq!(problem.detail.as_deref(), Some("this Idempotency-Key was used for another request"));
        assert_eq!(reply.cookie(), None);
    }
    assert_eq!(world.dump(ServiceName::Comments), before);
}

#[tokio::test]
async fn the_same_key_at_the_same_time_creates_one_comment() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let replies = join_all((0..50).map(|_| comments.send(keyed(say("hi"))))).await;
    for reply in &replies {
        assert_eq!((reply.status, reply.text()), (201, replies[0].text()));
    }
    assert_eq!(world.rows(ServiceName::Comments, "SELECT count(*) FROM comments"), ["1"]);
    assert_eq!(world.rows(ServiceName::Comments, "SELECT count(*) FROM outbox"), ["1"]);
}
