//! `GET /posts/{id}/comments`: who may read what.

use crate::{add_post, last, moderate, say, seen_by, start};
use serde_json::{Value, json};
use testkit::{World, request};

#[tokio::test]
async fn an_unknown_post_has_no_comments() {
    let world = World::new();
    let comments = start(&world).await;
    for id in ["p1", "__proto__", "a.b", "%2e%2e", "%F0%9F%A6%80", &"x".repeat(10_000)] {
        assert_eq!(comments.get(&format!("/posts/{id}/comments")).await.ok(200), json!([]));
    }
    assert_eq!(comments.get("/posts/%ff/comments").await.status, 400, "no text at all");
    add_post(&comments, "p1").await;
    assert_eq!(seen_by(&comments, None).await, json!([]));
}

#[tokio::test]
async fn only_its_author_sees_pending_text_and_nobody_sees_rejected_text() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let posted = comments.send(say("the text")).await;
    let (id, ada) = (last(&posted)["id"].clone(), posted.cookie().unwrap());
    let bob = comments.send(say("another")).await.cookie().unwrap();

    let shown = async |cookie: Option<&str>| {
        let all = seen_by(&comments, cookie).await;
        (all[0]["content"].clone(), all[0]["status"].clone(), all[0].get("mine").is_some())
    };
    let (text, blank) = (json!("the text"), json!(""));
    let pending: Value = "pending".into();
    assert_eq!(shown(Some(&ada)).await, (text.clone(), pending.clone(), true));
    for other in [None, Some(bob.as_str()), Some("author="), Some("author=00000000000000000000000000000000")]
    {
        assert_eq!(shown(other).await, (blank.clone(), pending.clone(), false), "{other:?}");
    }

    moderate(&comments, &id, "rejected").await;
    assert_eq!(shown(Some(&ada)).await, (blank.clone(), "rejected".into(), true));
    assert_eq!(shown(None).await, (blank, "rejected".into(), false));

    let approved = last(&comments.send(say("the text").cookie(&ada)).await)["id"].clone();
    moderate(&comments, &approved, "approved").await;
    for reader in [None, Some(ada.as_str()), Some(bob.as_str())] {
        let all = seen_by(&comments, reader).await;
        assert_eq!((&all[2]["content"], &all[2]["status"]), (&text, &json!("approved")));
    }
}

#[tokio::test]
async fn a_reason_is_shown_with_a_rejection_alone() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    for status in ["approved", "rejected"] {
        let id = last(&comments.send(say("x")).await)["id"].clone();
        let data =
            json!({"id": id, "postId": "p1", "content": "x", "status": status, "reason": "said a person"});
        comments.post("/events", &json!({"type": "CommentModerated", "data": data})).await.ok(200);
    }
    let all = seen_by(&comments, None).await;
    assert_eq!(all[0].get("reason"), None, "it says why a comment was rejected, and this one was not");
    assert_eq!(all[1]["reason"], "said a person");
    assert_eq!((&all[0]["version"], &all[1]["version"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn the_answer_to_head_is_that_to_get_without_its_body() {
    let world = World::new();
    let comments = start(&world).await;
    let reply = comments.send(request(http::Method::HEAD, "/posts/p1/comments")).await;
    assert_eq!((reply.status, reply.text()), (200, ""));
}
