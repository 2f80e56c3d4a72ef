//! What `POST /posts/create` refuses: with the contract's error, and leaving nothing behind.

use crate::start;
use serde_json::{Value, json};
use shared::text::CREATE_POST_BYTES;
use shared::{ProblemKind, ServiceName};
use testkit::{World, checks, post};

const CREATE: &str = "/posts/create";

#[tokio::test]
async fn what_is_not_the_json_of_a_post() {
    let world = World::new();
    let posts = start(&world).await;
    checks::json_route(&world, &posts, &post(CREATE), &json!({"title": "T"}), CREATE_POST_BYTES).await;
    checks::unknown_routes(&posts).await;
    posts.get(CREATE).await.problem(ProblemKind::MethodNotAllowed);
    posts.post("/posts", &json!({"title": "T"})).await.problem(ProblemKind::MethodNotAllowed);
}

#[tokio::test]
async fn every_limit_holds_just_inside_and_fails_just_outside() {
    let world = World::new();
    let posts = start(&world).await;
    let with = |field: &str, value: String| {
        let mut body = json!({"title": "T"});
        body[field] = value.into();
        body
    };
    // Characters, not bytes: each of these takes four.
    let long = |n: usize| "🦀".repeat(n);
    for (field, max) in [("title", 200), ("body", 50_000), ("author", 80)] {
        let created = posts.post(CREATE, &with(field, format!("  {} \n", long(max)))).await.ok(201);
        assert_eq!(created[field], long(max), "{field} is trimmed before it is counted");
        let before = world.dump(ServiceName::Posts);
        let reply = posts.post(CREATE, &with(field, long(max + 1))).await;
        assert_eq!(reply.invalid_fields(), [format!("/{field}")]);
        assert_eq!(world.dump(ServiceName::Posts), before);
    }
    assert_eq!(posts.post(CREATE, &json!({"title": "x"})).await.status, 201);
    for empty in ["", " ", "\n\t ", "\u{a0}\u{3000}"] {
        let problem = posts.post(CREATE, &json!({ "title": empty })).await.problem(ProblemKind::Invalid);
        assert_eq!(problem.error_of("title"), Some("must not be empty"), "{empty:?}");
    }
    for blank in [
        "\u{200b}\u{feff}",
        "\u{3164}",
        "\u{2800} \u{2800}",
        "\u{115f}\u{1160}\u{ffa0}",
        "\u{fe0f}",
        "\u{e0101}",
    ] {
        let body = json!({"title": blank, "author": blank});
        assert_eq!(posts.post(CREATE, &body).await.invalid_fields(), ["/title", "/author"], "{blank:?}");
    }
    assert_eq!(posts.post(CREATE, &json!({"body": "b"})).await.invalid_fields(), ["/title"]);
}

#[tokio::test]
async fn wrong_types_are_named_all_at_once() {
    let world = World::new();
    let posts = start(&world).await;
    let before = world.dump(ServiceName::Posts);
    for wrong in [json!(5), json!(true), json!({"a": 1}), json!(["T"]), json!(1.5)] {
        for field in ["title", "body", "author"] {
            let mut body = json!({"title": "T"});
            body[field] = wrong.clone();
            assert_eq!(posts.post(CREATE, &body).await.invalid_fields(), [format!("/{field}")]);
        }
    }
    assert_eq!(posts.post(CREATE, &json!({"title": null})).await.invalid_fields(), ["/title"]);
    let all =
        json!({"title": {"toString": "x"}, "body": 5, "author": [], "status": "approved", "id": "mine"});
    let fields = posts.post(CREATE, &all).await.invalid_fields();
    assert_eq!(fields, ["/id", "/status", "/title", "/body", "/author"]);
    // A hundred kilobytes fit the request; they do not fit a field.
    let hundred_kb = json!({"title": "x".repeat(100_000), "body": "x".repeat(100_000)});
    assert_eq!(posts.post(CREATE, &hundred_kb).await.invalid_fields(), ["/title", "/body"]);
    assert_eq!(world.dump(ServiceName::Posts), before);
}

#[tokio::test]
async fn control_and_bidirectional_characters() {
    let world = World::new();
    let posts = start(&world).await;
    let before = world.dump(ServiceName::Posts);
    let forbidden = "\u{61c}\u{0}\u{1}\u{8}\u{b}\u{c}\u{1b}\u{7f}\u{80}\u{9f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
    for c in forbidden.chars() {
        let text = format!("a{c}b");
        let reply = posts.post(CREATE, &json!({"title": text, "body": text, "author": text})).await;
        assert_eq!(reply.invalid_fields(), ["/title", "/body", "/author"], "{c:?}");
        assert!(!reply.text().contains(c), "the answer does not repeat it");
    }
    for line in ["a\nb", "a\tb", "a\r\nb"] {
        let reply = posts.post(CREATE, &json!({"title": line, "author": line})).await;
        assert_eq!(reply.invalid_fields(), ["/title", "/author"], "{line:?} is for many lines");
    }
    assert_eq!(world.dump(ServiceName::Posts), before);
    let fine = json!({"title": "שלום\u{200f} 👩\u{200d}💻 </script>", "body": "a\n\tb", "author": "'; DROP TABLE posts; --"});
    let created = posts.post(CREATE, &fine).await.ok(201);
    for field in ["title", "body", "author"] {
        assert_eq!(created[field], fine[field]);
    }
}

#[tokio::test]
async fn an_idempotency_key_has_a_length() {
    let world = World::new();
    let posts = start(&world).await;
    let ask = |key: &[u8]| post(CREATE).json(&json!({"title": "T"})).header("idempotency-key", key);
    for good in ["k", &"k".repeat(255), "a key with spaces, {} and \"quotes\""] {
        assert_eq!(posts.send(ask(good.as_bytes())).await.status, 201, "{good}");
    }
    let before = world.dump(ServiceName::Posts);
    for bad in [&b""[..], "k".repeat(256).as_bytes(), "schlüssel".as_bytes(), b"\xff"] {
        posts.send(ask(bad)).await.problem(ProblemKind::BadRequest);
    }
    assert_eq!(world.dump(ServiceName::Posts), before);
}

#[tokio::test]
async fn a_refused_request_does_not_use_its_key_up() {
    let world = World::new();
    let posts = start(&world).await;
    let ask = |body: Value| post(CREATE).json(&body).header("idempotency-key", "k");
    posts.send(ask(json!({"title": ""}))).await.problem(ProblemKind::Invalid);
    assert_eq!(posts.send(ask(json!({"title": "T"}))).await.status, 201);
}
