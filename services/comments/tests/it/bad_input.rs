//! What `POST /posts/{id}/comments` refuses: with the contract's error, and leaving nothing behind.

use crate::{COMMENTS, add_post, last, say, start};
use serde_json::{Value, json};
use shared::text::PUBLIC_BYTES;
use shared::{ProblemKind, ServiceName};
use testkit::{World, checks, post};

#[tokio::test]
async fn what_is_not_the_json_of_a_comment() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    checks::json_route(&world, &comments, &post(COMMENTS), &json!({"content": "c"}), PUBLIC_BYTES).await;
    checks::unknown_routes(&comments).await;
    comments.get("/posts").await.problem(ProblemKind::NotFound);
    comments.get("/posts/p1").await.problem(ProblemKind::NotFound);
}

#[tokio::test]
async fn every_limit_holds_just_inside_and_fails_just_outside() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let with = |field: &str, value: String| {
        let mut body = json!({"content": "c"});
        body[field] = value.into();
        body
    };
    let long = |n: usize| "🦀".repeat(n);
    for (field, max) in [("content", 4_000), ("author", 80)] {
        let reply = comments.post(COMMENTS, &with(field, format!("\n {} \t", long(max)))).await;
        assert_eq!(last(&reply)[field], long(max));
        let before = world.dump(ServiceName::Comments);
        let reply = comments.post(COMMENTS, &with(field, long(max + 1))).await;
        assert_eq!(reply.invalid_fields(), [format!("/{field}")]);
        assert_eq!(world.dump(ServiceName::Comments), before);
    }
    assert_eq!(comments.send(say("x")).await.status, 201);
    for empty in ["", " ", "\r\n", "\u{a0}", "\u{200b}", "\u{2800}", "\u{3164}\u{fe0f}"] {
        let problem = comments.send(say(empty)).await.problem(ProblemKind::Invalid);
        assert_eq!(problem.error_of("content"), Some("must not be empty"), "{empty:?}");
    }
    let before = world.dump(ServiceName::Comments);
    comments.send(say(&"x".repeat(100_000))).await.problem(ProblemKind::TooLarge);
    assert_eq!(comments.post(COMMENTS, &json!({})).await.invalid_fields(), ["/content"]);
    assert_eq!(world.dump(ServiceName::Comments), before);
}

#[tokio::test]
async fn wrong_types_and_unfit_characters() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let before = world.dump(ServiceName::Comments);
    for wrong in [json!(5), json!(null), json!(true), json!({"a": 1}), json!(["c"])] {
        let reply = comments.post(COMMENTS, &json!({ "content": wrong })).await;
        assert_eq!(reply.invalid_fields(), ["/content"], "{wrong}");
    }
    let all = json!({"content": {}, "author": 5, "status": "approved", "postId": "p2"});
    assert_eq!(
        comments.post(COMMENTS, &all).await.invalid_fields(),
        ["/postId", "/status", "/content", "/author"]
    );
    for c in "\u{0}\u{7}\u{1b}\u{7f}\u{85}\u{61c}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
        let text = format!("a{c}b");
        let reply = comments.post(COMMENTS, &json!({"content": text, "author": text})).await;
        assert_eq!(reply.invalid_fields(), ["/content", "/author"], "{c:?}");
    }
    assert_eq!(
        comments.post(COMMENTS, &json!({"content": "a\nb", "author": "a\nb"})).await.invalid_fields(),
        ["/author"]
    );
    assert_eq!(world.dump(ServiceName::Comments), before);
    let fine = "line\n\ttabbed שלום\u{200f} </script><b>";
    assert_eq!(last(&comments.send(say(fine)).await)["content"], fine);
}

#[tokio::test]
async fn an_idempotency_key_has_a_length() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let ask = |key: &[u8]| say("x").header("idempotency-key", key);
    assert_eq!(comments.send(ask("k".repeat(255).as_bytes())).await.status, 201);
    let before = world.dump(ServiceName::Comments);
    for bad in [&b""[..], "k".repeat(256).as_bytes(), "ä".as_bytes()] {
        comments.send(ask(bad)).await.problem(ProblemKind::BadRequest);
    }
    assert_eq!(world.dump(ServiceName::Comments), before);
}

#[tokio::test]
async fn a_refused_comment_does_not_use_its_key_up() {
    let world = World::new();
    let comments = start(&world).await;
    let ask = |body: Value| post(COMMENTS).json(&body).header("idempotency-key", "k");
    comments.send(ask(json!({"content": "x"}))).await.problem(ProblemKind::NotFound);
    add_post(&comments, "p1").await;
    comments.send(ask(json!({"content": 5}))).await.problem(ProblemKind::Invalid);
    assert_eq!(comments.send(ask(json!({"content": "x"}))).await.status, 201);
}
