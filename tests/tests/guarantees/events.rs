//! The envelope of events, and events that cannot be applied.

use serde_json::{Value, json};
use shared::ServiceName::{Comments, Posts, Query};
use std::time::Instant;
use system_tests::Stack;
use system_tests::blog::Blog;
use system_tests::bus::{comment_created, post_created, signed};
use system_tests::latency::Latency;
use system_tests::signature::Direction;
use system_tests::sse::{Event, Stream};

#[tokio::test]
async fn every_event_tells_what_began_it_and_what_caused_it() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("Traced").await;
    blog.until_known(&post).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = blog.comments.post(&format!("/posts/{post}/comments"));
    let request = request.header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    request.json(&json!({ "content": "followed" })).send().await.expect(201);
    blog.until_settled(&post, 1).await;
    let log = stack.log().await;
    let [created, commented, moderated, updated] = &log[..] else { panic!("four events, not {log:#?}") };

    for (place, event) in log.iter().enumerate() {
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["sequence"], format!("{:020}", place + 1));
        assert_eq!((&event["subject"], &event["partitionkey"]), (&json!(post), &json!(post)));
        assert_eq!(event["datacontenttype"], "application/json");
        let kind = event["type"].as_str().expect("a type");
        assert_eq!(event["dataschema"], format!("/schemas/{kind}/1"));
        let time = event["time"].as_str().expect("a time");
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        let id = event["id"].as_str().expect("an id");
        assert!(id.len() == 36 && id.as_bytes()[14] == b'7', "a UUID of version 7: {id}");
    }
    let sources = log.iter().map(|event| event["source"].as_str().expect("a source"));
    assert_eq!(sources.collect::<Vec<_>>(), ["/posts", "/comments", "/moderation", "/comments"]);
    assert_eq!(created["correlationid"], created["id"]);
    for event in [commented, moderated, updated] {
        assert_eq!(event["correlationid"], commented["id"], "the event at the start of the chain");
        let traced = event["traceparent"].as_str().expect("a trace");
        assert!(traced.contains(trace), "{traced}");
    }
    assert_eq!(moderated["causationid"], commented["id"]);
    assert_eq!(updated["causationid"], moderated["id"]);
}

#[tokio::test]
async fn an_event_too_early_is_sent_back_and_one_too_late_changes_nothing() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("In order").await;
    blog.comment(&post, "as well").await;
    blog.until_settled(&post, 1).await;
    stack.until_caught_up(Query).await;
    let before = stack.operator_get(Query, "/read-model").await.expect(200).text();
    let log = stack.log().await;
    let head = log.last().expect("events")["sequence"].clone();
    let secret = stack.secret("QUERY_SECRET");
    let deliver =
        async |event: &Value| signed(stack.at(Query), &secret, Direction::Deliver, 0, event).send().await;
    let mut early = post_created("from-the-future", "Too early");
    early["sequence"] = json!(format!("{:020}", log.len() + 2));
    assert_eq!(deliver(&early).await.expect_problem(409)["cursor"], head, "the answer names the cursor");
    for event in &log {
        assert_eq!(deliver(event).await.expect(200).json(), json!({}));
    }
    // Nor can another event take the sequence of an applied one.
    early["sequence"] = head;
    assert_eq!(deliver(&early).await.expect(200).json(), json!({}));
    assert_eq!(stack.operator_get(Query, "/read-model").await.expect(200).text(), before);
    let later = blog.post("The next one").await;
    blog.until_known(&later).await;
}

#[tokio::test]
async fn a_poison_event_blocks_only_its_own_post_until_it_is_discarded() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let poison = json!({ "type": "PostCreated", "data": { "id": "poisoned", "title": { "an": "object" } } });
    stack.publish(Posts, &poison).await;
    stack.publish(Posts, &post_created("poisoned", "The same post, now in order")).await;
    let other = blog.post("Another post").await;
    blog.comment(&other, "does not wait").await;
    blog.until_settled(&other, 1).await;

    let letters = stack.dead_letters(Query).await;
    let [first, second] = &letters[..] else { panic!("two dead letters, not {letters:#?}") };
    for (letter, attempts) in [(first, 1), (second, 0)] {
        assert_eq!(letter["key"], "poisoned");
        assert_eq!(letter["attempts"], attempts);
        assert_eq!(letter["event"]["type"], "PostCreated");
    }
    assert_eq!(first["event"]["data"], poison["data"], "as published");
    assert!(first["error"].as_str().is_some_and(|why| why.contains("cannot be read")), "{first}");
    assert!(blog.read_post("poisoned").await.is_null());
    stack.until_caught_up(Query).await;

    let id = first["id"].as_i64().expect("a number");
    let redrive = format!("/dead-letters/{id}/redrive");
    stack.at(Query).post(&redrive).send().await.expect_problem(401);
    stack.at(Query).get("/dead-letters").send().await.expect_problem(401);
    let came_to = stack.operator_post(Query, &redrive).await.expect(200).json();
    assert_eq!(came_to, json!({ "applied": 0, "remaining": 2 }), "the event is unchanged, so it fails again");
    // It stays parked through a restart.
    stack.restart(Query).await;
    assert_eq!(stack.dead_letters(Query).await.len(), 2);

    let discard = format!("/dead-letters/{id}/discard");
    let came_to = stack.operator_post(Query, &discard).await.expect(200).json();
    assert_eq!(came_to, json!({ "applied": 1, "remaining": 0 }), "the later event is applied");
    assert_eq!(blog.read_post("poisoned").await["title"], "The same post, now in order");
    assert_eq!(stack.dead_letters(Query).await, [Value::Null; 0]);
    stack.operator_post(Query, &redrive).await.expect_problem(404);
    stack.publish(Posts, &post_created("unrelated", "Nothing waits any more")).await;
    blog.until_known("unrelated").await;
}

/// Writes comments one after the other; returns how long they took until readers saw their verdicts.
async fn until_published(blog: &Blog, post: &str, live: &mut Stream, count: usize) -> Latency {
    let mut took = Vec::new();
    for n in 0..count {
        let begun = Instant::now();
        let id = blog.comment(post, &format!("comment {n}")).await;
        let published = |event: &Event| {
            let comment = &event.json()["comment"];
            comment["id"] == id && comment["status"] == "approved"
        };
        live.until("the comment is published", published).await;
        took.push(begun.elapsed());
    }
    Latency::of(took)
}

#[tokio::test]
async fn no_other_post_waits_for_one_whose_events_are_parked() {
    const COMMENTS: usize = 100;
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("Another post").await;
    blog.until_known(&post).await;
    let mut live = Stream::open(blog.query.get(&format!("/live?post={post}"))).await;
    let before = until_published(&blog, &post, &mut live, COMMENTS).await;

    let poison = json!({ "type": "PostCreated", "data": { "id": "poisoned", "title": { "an": "object" } } });
    stack.publish(Posts, &poison).await;
    let (flood, measured) = tokio::join!(
        async {
            for n in 0..COMMENTS {
                stack.publish(Comments, &comment_created(&format!("c{n}"), "poisoned", "waits")).await;
            }
            stack.until_caught_up(Query).await;
            stack.dead_letters(Query).await
        },
        until_published(&blog, &post, &mut live, COMMENTS)
    );
    assert!(flood.len() > COMMENTS, "{} are parked", flood.len());
    assert!(flood.iter().all(|letter| letter["key"] == "poisoned"), "and none of another post");
    for name in ["posts", "comments", "moderation", "query"] {
        let row = stack.subscription(name).await;
        assert_eq!(
            (&row["attempts"], &row["lastError"]),
            (&json!(0), &Value::Null),
            "nothing was tried again"
        );
    }
    measured.assert_like(before, "a comment until it is published, before and then beside a parked post");
}
