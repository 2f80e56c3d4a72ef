//! Requests that end a service of the course's app, blank every page, or reveal private text.

use serde_json::{Value, json};
use shared::ServiceName::{Comments, EventBus, Moderation, Posts, Query};
use system_tests::blog::{contents, id_of, statuses};
use system_tests::bus::{post_created, signed};
use system_tests::signature::Direction;
use system_tests::sse::Stream;
use system_tests::{LIMIT, Stack, eventually, holds};

/// 6. One request kills a service: a comment without JSON content type or with `{"content":5}` (moderation);
/// `POST /posts/__proto__/comments` or a 100 kB comment (comments); the bus being down (posts, comments).
#[tokio::test]
async fn no_request_ends_a_service() {
    let stack = Stack::services().await;
    let (blog, before) = (stack.blog(), stack.pids());
    let post = blog.post("Target").await;
    blog.until_known(&post).await;
    let comments = format!("/posts/{post}/comments");
    let long = json!({ "content": "x".repeat(100_000) }).to_string();
    let deep = "[".repeat(50_000);
    for (content_type, body, status) in [
        ("text/plain", r#"{"content":"x"}"#, 415),
        ("application/x-www-form-urlencoded", "content=x", 415),
        ("application/json", r#"{"content":5}"#, 422),
        ("application/json", r#"{"content":{"a":1}}"#, 422),
        ("application/json", r#"["x"]"#, 422),
        ("application/json", "null", 422),
        ("application/json", r#"{"content":"#, 400),
        ("application/json", "", 400),
        ("application/json", "\"\\ud800\"", 400),
        ("application/json", &long, 413),
        ("application/json", &deep, 400),
    ] {
        let answer = blog.comments.post(&comments).body(content_type, body.to_owned()).send().await;
        answer.expect_problem(status);
    }
    blog.comments.post(&comments).send().await.expect_problem(415);
    for id in ["__proto__", "constructor", "..%2f..", "%00", "%ff", &"x".repeat(5_000)] {
        let path = format!("/posts/{id}/comments");
        let answer = blog.comments.post(&path).json(&json!({ "content": "x" })).send().await;
        assert!(matches!(answer.status, 400 | 404), "{id}: {answer}");
        let answer = blog.comments.get(&path).send().await;
        assert!(matches!(answer.status, 200 | 400 | 404), "{id}: {answer}");
    }
    let secret = stack.secret("MODERATION_SECRET");
    let odd = json!({ "type": "CommentCreated", "data": { "id": "odd", "content": 5, "postId": "odd" } });
    signed(stack.at(Moderation), &secret, Direction::Deliver, 0, &odd).send().await.expect(200);
    // `__proto__` is an id like any other.
    stack.publish(Posts, &post_created("__proto__", "Not special")).await;
    blog.until_known("__proto__").await;
    blog.comment("__proto__", "works").await;
    let special = blog.until_settled("__proto__", 1).await;
    assert_eq!(contents(&special["comments"]), ["works"]);

    stack.kill(EventBus).await;
    let late = blog.post("The bus is down").await;
    blog.comment(&post, "and nobody minds").await;
    stack.start_service(EventBus).await;
    blog.until_known(&late).await;
    blog.until_settled(&post, 1).await;
    let mut after = stack.pids();
    after.insert(EventBus, before[&EventBus]);
    assert_eq!(after, before, "a service has been restarted");
}

/// 7. A title that is an object gives 201, then a blank page for every visitor.
#[tokio::test]
async fn a_title_that_is_no_text_is_refused_and_no_reader_sees_it() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let good = blog.post("A text").await;
    blog.until_known(&good).await;
    for title in [json!({ "a": 1 }), json!(["a"]), json!(5), json!(true), Value::Null, json!("")] {
        let answer = blog.posts.post("/posts/create").json(&json!({ "title": title })).send().await;
        let problem = answer.expect_problem(422);
        assert_eq!(problem["errors"][0]["pointer"], "/title", "{title}: {problem}");
    }
    let answer = blog.posts.post("/posts/create").json(&json!({})).send().await;
    assert_eq!(answer.expect_problem(422)["errors"][0]["detail"], "is missing");

    let last = blog.post("Another text").await;
    blog.until_known(&last).await;
    assert_eq!(blog.read().await.as_object().map(serde_json::Map::len), Some(2));
    let page = stack.front_door().get("/").send().await.expect(200).text();
    assert!(page.contains("A text") && page.contains("Another text"), "{page}");
}

/// 9. Rejected text is still in `GET /posts`; errors carry stack traces; anybody can post
/// `CommentUpdated{status:"approved"}`.
#[tokio::test]
async fn rejected_text_reaches_nobody_and_only_the_publisher_can_change_a_verdict() {
    let stack = Stack::start().await;
    let (blog, front_door) = (stack.public_blog(), stack.front_door());
    let post = blog.post("Contested").await;
    blog.until_known(&post).await;
    let mut live = Stream::open(front_door.get("/live")).await;
    let secret_text = "zanzibar orange";
    stack.kill(Moderation).await;
    let answer = blog.try_comment(&post, secret_text).await.expect(201);
    let cookie = answer.cookies();
    let comment = id_of(&answer.json()[0]);
    let query = format!("/query/posts/{post}");
    let comments = format!("/posts/{post}/comments");

    eventually(LIMIT, "its author reads it while it is pending", async || {
        let seen = front_door.get(&query).header("cookie", &cookie).send().await.json();
        holds(seen, |seen| contents(&seen["comments"]) == [secret_text])
    })
    .await;
    let read_everywhere = async |cookie: &str| {
        let mut texts = String::new();
        for path in [&query, &comments, "/posts", "/posts?limit=10", &format!("/p/{post}"), "/"] {
            let answer = front_door.get(path).header("cookie", cookie).send().await.expect(200);
            texts.push_str(&answer.text());
        }
        texts
    };
    assert!(!read_everywhere("").await.contains("zanzibar"), "only its author reads it while it is pending");

    stack.start_service(Moderation).await;
    let settled = blog.until_settled(&post, 1).await;
    assert_eq!(settled["comments"][0]["status"], "rejected");
    eventually(LIMIT, "the comments service knows the verdict", async || {
        holds(blog.comments(&post).await, |all| statuses(all) == ["rejected"])
    })
    .await;
    for reader in ["", &cookie] {
        assert!(!read_everywhere(reader).await.contains("zanzibar"), "nobody reads rejected text");
    }
    let told = live.until("the verdict", |e| e.data.contains("rejected")).await;
    assert_eq!(told.json()["comment"]["id"], comment.as_str());
    assert!(live.seen().iter().all(|event| !event.data.contains("zanzibar")), "{:?}", live.seen());

    // Every attempt to approve it after all.
    let log = stack.log_bytes().await;
    let data =
        json!({ "id": comment, "content": secret_text, "postId": post, "status": "approved", "version": 9 });
    let event = |kind: &str| json!({ "type": kind, "data": data });
    let (updated, moderated) = (event("CommentUpdated"), event("CommentModerated"));
    for service in [EventBus, Posts, Comments, Moderation, Query] {
        stack.at(service).post("/events").json(&updated).send().await.expect_problem(401);
    }
    let (ours, bus) = (stack.secret("COMMENTS_SECRET"), stack.at(EventBus));
    let forgeries = [
        ("a wrong secret", signed(bus, "not-the-secret-of-anybody", Direction::Publish, 0, &updated)),
        ("a delivery played back", signed(bus, &ours, Direction::Deliver, 0, &updated)),
        ("too old", signed(bus, &ours, Direction::Publish, 301, &updated)),
        ("from the future", signed(bus, &ours, Direction::Publish, -302, &updated)),
        ("a publication played back", signed(stack.at(Comments), &ours, Direction::Publish, 0, &moderated)),
        ("another's delivery", signed(stack.at(Query), &ours, Direction::Deliver, 0, &updated)),
        ("an old delivery", signed(stack.at(Comments), &ours, Direction::Deliver, 301, &moderated)),
    ];
    for (what, forgery) in forgeries {
        let answer = forgery.send().await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
        answer.expect_problem(401);
    }
    stack.publication(Posts, &moderated).send().await.expect_problem(403);
    stack.publication(Comments, &moderated).send().await.expect_problem(403);
    let posing = json!({ "type": "CommentUpdated", "source": "/moderation", "data": data });
    stack.publication(Comments, &posing).send().await.expect_problem(403);
    assert_eq!(stack.log_bytes().await, log, "the log has not changed");
    assert_eq!(statuses(&blog.comments(&post).await), ["rejected"]);
    assert_eq!(blog.read_post(&post).await, settled);
}
