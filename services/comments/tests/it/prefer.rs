//! `Prefer: return=minimal` on a new comment.

use crate::{COMMENTS, add_post, last, moderate, say, seen_by, start};
use serde_json::json;
use shared::ServiceName;
use testkit::{Ask, World, get};

fn minimal(content: &str) -> Ask {
    say(content).header("prefer", "return=minimal")
}

#[tokio::test]
async fn the_answer_is_the_new_comment_alone() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    comments.send(say("before")).await.ok(201);
    let reply = comments.send(minimal("new")).await;
    let id = reply.ok(201)["id"].clone();
    let stamp = "2027-01-15T08:00:00.000Z";
    assert_eq!(
        reply.ok(201),
        json!({"id": id, "content": "new", "status": "pending", "createdAt": stamp, "version": 1, "mine": true})
    );
    assert_eq!(reply.header("preference-applied"), "return=minimal");
    assert_eq!(reply.header("location"), format!("{COMMENTS}#{}", id.as_str().unwrap()));
    let seen = seen_by(&comments, reply.cookie().as_deref()).await;
    assert_eq!((&seen[1], &seen[0]["content"]), (&reply.ok(201), &json!("")), "the cookie is its author's");
}

#[tokio::test]
async fn other_preferences_get_the_whole_array() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let whole = comments.send(say("one").header("prefer", "return=representation")).await;
    assert_eq!(
        (whole.ok(201).as_array().unwrap().len(), whole.header("preference-applied")),
        (1, "return=representation")
    );
    for (n, other) in ["respond-async", "return=nothing", "\"return=minimal"].into_iter().enumerate() {
        let reply = comments.send(say("more").header("prefer", other)).await;
        assert_eq!(reply.ok(201).as_array().unwrap().len(), n + 2, "{other}");
        assert_eq!(reply.headers.get("preference-applied"), None, "{other}");
    }
}

#[tokio::test]
async fn a_repeated_request_may_prefer_something_else() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let keyed = |ask: Ask| ask.header("idempotency-key", "01935b7e-8f3a-7c1d-9b2e-5a6f7c8d9e0f");
    let whole = comments.send(keyed(say("kept"))).await;
    comments.send(say("later")).await.ok(201);
    moderate(&comments, &last(&whole)["id"], "rejected").await;
    let alone = comments.send(keyed(minimal("kept"))).await;
    assert_eq!(alone.ok(201), last(&whole), "as it was when it was new");
    assert_eq!(alone.header("location"), whole.header("location"));
    assert!(whole.cookie().is_some());
    assert_eq!(alone.cookie(), whole.cookie());
    assert_eq!(comments.send(keyed(say("kept"))).await.text(), whole.text());
}

#[tokio::test]
async fn one_comment_can_be_read_alone() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let created = comments.send(minimal("mine")).await;
    let (new, cookie) = (created.ok(201), created.cookie().unwrap());
    let path = format!("{COMMENTS}/{}", new["id"].as_str().unwrap());
    assert_eq!(comments.send(get(&path).cookie(&cookie)).await.ok(200), new);
    assert_eq!(
        comments.get(&path).await.ok(200),
        seen_by(&comments, None).await[0],
        "others see no pending text"
    );
    for unknown in [path.replace("p1", "p2"), format!("{COMMENTS}/nothing"), format!("{COMMENTS}/a.b")] {
        comments.get(&unknown).await.problem(shared::ProblemKind::NotFound);
    }
}

#[tokio::test]
async fn a_comment_that_is_stored_is_answered_although_its_thread_cannot_be_read() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    comments.send(say("before")).await.ok(201);
    let file = world.data_dir(ServiceName::Comments).join("comments.db");
    let damaged = rusqlite::Connection::open(file).unwrap();
    damaged.execute("UPDATE comments SET status = 'none of these'", []).unwrap();
    let new = last(&comments.send(say("new")).await);
    assert_eq!(new["content"], "new");
    damaged.execute("UPDATE comments SET status = 'pending'", []).unwrap();
    let seen = seen_by(&comments, None).await;
    assert_eq!((seen.as_array().unwrap().len(), &seen[1]["id"]), (2, &new["id"]));
}
