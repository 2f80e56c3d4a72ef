//! Creating and reading: limits, and the form of the answers.

use serde_json::{Value, json};
use shared::ServiceName::{Comments, Moderation, Posts, Query};
use system_tests::blog::id_of;
use system_tests::http::Answer;
use system_tests::{LIMIT, Stack, eventually, holds};

/// A case in the table of limits.
async fn ask(stack: &Stack, path: &str, body: &Value) -> Answer {
    stack.front_door().post(path).json(body).send().await
}

#[tokio::test]
async fn every_limit_holds_just_inside_and_fails_just_outside() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Under test").await;
    blog.until_known(&post).await;
    let comments = format!("/posts/{post}/comments");
    let log_before = stack.log().await.len();
    let x = |count: usize| "ä".repeat(count);
    let accepted = [
        ("/posts/create", json!({ "title": "x" })),
        ("/posts/create", json!({ "title": x(200) })),
        ("/posts/create", json!({ "title": format!("  {}\n", x(200)) })),
        ("/posts/create", json!({ "title": "t", "body": x(50_000), "author": x(80) })),
        ("/posts/create", json!({ "title": "t", "body": "", "author": "" })),
        ("/posts/create", json!({ "title": "t", "body": null, "author": null })),
        ("/posts/create", json!({ "title": "t", "body": "a\tb\r\nc" })),
        // A character has at most four bytes; escaped in JSON, this text would exceed the limit of the route.
        ("/posts/create", json!({ "title": "t", "body": "😀".repeat(50_000) })),
        (&comments, json!({ "content": "x" })),
        (&comments, json!({ "content": x(4_000), "author": x(80) })),
        (&comments, json!({ "content": "א\u{200F}\u{200E} 👩\u{200D}💻" })),
    ];
    for (path, body) in &accepted {
        let answer = ask(&stack, path, body).await;
        assert_eq!(
            answer.status,
            201,
            "{path} {}: {answer}",
            &body.to_string()[..60.min(body.to_string().len())]
        );
    }
    let refused = [
        ("/posts/create", json!({ "title": "" }), "/title"),
        ("/posts/create", json!({ "title": " \n\t\u{200B}" }), "/title"),
        ("/posts/create", json!({ "title": x(201) }), "/title"),
        ("/posts/create", json!({ "title": "a\nb" }), "/title"),
        ("/posts/create", json!({ "title": "a\u{0}b" }), "/title"),
        ("/posts/create", json!({ "title": "a\u{202E}b" }), "/title"),
        ("/posts/create", json!({ "title": "a\u{2066}b" }), "/title"),
        ("/posts/create", json!({ "title": "a\u{85}b" }), "/title"),
        ("/posts/create", json!({ "title": "t", "body": x(50_001) }), "/body"),
        ("/posts/create", json!({ "title": "t", "body": "a\u{1b}[2J" }), "/body"),
        ("/posts/create", json!({ "title": "t", "body": 5 }), "/body"),
        ("/posts/create", json!({ "title": "t", "author": x(81) }), "/author"),
        ("/posts/create", json!({ "title": "t", "author": "a\tb" }), "/author"),
        ("/posts/create", json!({ "title": "t", "author": ["a"] }), "/author"),
        ("/posts/create", json!({ "title": "t", "id": "mine" }), "/id"),
        ("/posts/create", json!({ "title": "t", "__proto__": {} }), "/__proto__"),
        (&comments, json!({ "content": "" }), "/content"),
        (&comments, json!({ "content": x(4_001) }), "/content"),
        (&comments, json!({ "content": "a\u{7}b" }), "/content"),
        (&comments, json!({ "content": "a\u{202A}b" }), "/content"),
        (&comments, json!({ "content": 5 }), "/content"),
        (&comments, json!({ "content": null }), "/content"),
        (&comments, json!({ "content": "c", "author": x(81) }), "/author"),
        (&comments, json!({ "content": "c", "status": "approved" }), "/status"),
        (&comments, json!({ "content": "c", "postId": "other" }), "/postId"),
    ];
    for (path, body, pointer) in &refused {
        let problem = ask(&stack, path, body).await.expect_problem(422);
        let pointers: Vec<_> =
            problem["errors"].as_array().into_iter().flatten().map(|e| &e["pointer"]).collect();
        assert_eq!(pointers, [&json!(pointer)], "{problem}");
    }
    let both = ask(&stack, "/posts/create", &json!({ "title": "", "body": x(50_001), "more": 1 })).await;
    assert_eq!(both.expect_problem(422)["errors"].as_array().map(Vec::len), Some(3), "every field at once");

    let sized = |size: usize| {
        let mut body = b"{\"title\":\"t\"}".to_vec();
        body.resize(size, b' ');
        body
    };
    for (path, size, status) in [
        ("/posts/create", 256 * 1024, 201),
        ("/posts/create", 256 * 1024 + 1, 413),
        // A comment has no title; the problem shows that the body was read.
        (&comments, 64 * 1024, 422),
        (&comments, 64 * 1024 + 1, 413),
    ] {
        let answer = stack.front_door().post(path).body("application/json", sized(size)).send().await;
        assert_eq!(answer.status, status, "{path} {size}: {answer}");
    }
    for key in ["k".repeat(255), "k".repeat(256)] {
        let request = stack.front_door().post("/posts/create").header("idempotency-key", &key);
        let status = request.json(&json!({ "title": "Keyed" })).send().await.status;
        assert_eq!(status, if key.len() == 255 { 201 } else { 400 });
    }
    let posts = accepted.iter().filter(|(path, _)| *path == "/posts/create").count() + 2;
    let comments = accepted.len() - (posts - 2);
    let expected = log_before + posts + 3 * comments;
    eventually(LIMIT, "the log has what was accepted, and nothing else", async || {
        holds(stack.log().await.len(), |events| *events == expected)
    })
    .await;
}

#[tokio::test]
async fn creation_says_where_to_read_what_was_created() {
    let stack = Stack::start().await;
    let door = stack.front_door();
    let body = json!({ "title": "Located", "body": "**text**", "author": "Ada" });
    let created = door.post("/posts/create").json(&body).send().await.expect(201);
    let post = created.json();
    assert_eq!(
        (&post["body"], &post["author"], &post["version"]),
        (&json!("**text**"), &json!("Ada"), &json!(1))
    );
    assert!(post["createdAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{post}");
    stack.public_blog().until_known(&id_of(&post)).await;
    let read = door.get(created.header("location")).send().await.expect(200).json();
    assert_eq!(
        (&read["id"], &read["title"], &read["body"]),
        (&post["id"], &json!("Located"), &json!("**text**"))
    );

    let path = format!("/posts/{}/comments", id_of(&post));
    let request = door.post(&path).json(&json!({ "content": "hi", "author": "Bob" }));
    let answer = request.send().await.expect(201);
    let comment = answer.json()[0].clone();
    assert_eq!((&comment["author"], &comment["mine"]), (&json!("Bob"), &json!(true)));
    assert_eq!(answer.header("location"), format!("{path}#{}", id_of(&comment)));
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let again = door.post(&path).header("cookie", &answer.cookies()).json(&json!({ "content": "again" }));
    assert_eq!(again.send().await.expect(201).cookies(), "", "a known author keeps the cookie");

    for place in [Posts, Comments, Moderation, Query] {
        let id = "my-own.request_id";
        let answer = stack.at(place).get("/livez").header("x-request-id", id).send().await.expect(200);
        assert_eq!(answer.header("x-request-id"), id);
    }
}

#[tokio::test]
async fn the_newest_posts_are_read_page_by_page() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let mut newest_first = Vec::new();
    for n in 0..7 {
        newest_first.insert(0, blog.post(&format!("Post {n}")).await);
    }
    blog.until_known(&newest_first[0]).await;
    blog.comment(&newest_first[6], "counted").await;
    blog.comment(&newest_first[6], "an orange is not").await;
    blog.until_settled(&newest_first[6], 2).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stack.front_door().get(&format!("/posts?limit=3{cursor}")).send().await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        seen.extend(items.iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(items.len(), 3);
        cursor = format!("&cursor={}", system_tests::http::encode(next));
    }
    assert_eq!(seen.iter().map(id_of).collect::<Vec<_>>(), newest_first);
    assert_eq!(seen[6]["commentCount"], 1);
}
