//! What the system promises whatever happens to it: nothing acknowledged is lost, nothing happens twice, everybody
//! keeps working while others are down, and everything comes to the same in the end.

use serde_json::{Value, json};
use shared::ServiceName::{self, Comments, EventBus, Frontend, Moderation, Posts, Query};
use std::collections::BTreeMap;
use std::time::Duration;
use system_tests::blog::{Blog, contents, id_of, statuses};
use system_tests::bus::post_created;
use system_tests::load::{Load, until_all_approved};
use system_tests::sse::Stream;
use system_tests::stack::said;
use system_tests::{LIMIT, Setup, Stack, eventually, holds};

/// A little of everything: three posts, with and without comments, approved and rejected.
async fn some_history(blog: &Blog) -> Vec<String> {
    let mut posts = Vec::new();
    for n in 0..3 {
        let body = json!({ "title": format!("Post {n}"), "body": "*words*", "author": "Ada" });
        let post = id_of(&blog.posts.post("/posts/create").json(&body).send().await.expect(201).json());
        for comment in 0..n {
            blog.comment(&post, &format!("comment {comment}")).await;
            blog.comment(&post, &format!("orange {comment}")).await;
        }
        blog.until_known(&post).await;
        blog.until_settled(&post, 2 * n).await;
        posts.push(post);
    }
    posts
}

/// Everything that the services answer about what they keep.
#[derive(Debug, PartialEq)]
struct Picture {
    posts: String,
    comments: BTreeMap<String, String>,
    reading_side: String,
    read_model: String,
    log: String,
}

impl Picture {
    async fn take(stack: &Stack, posts: &[String]) -> Self {
        let read = async |service, path: &str| stack.at(service).get(path).send().await.expect(200).text();
        let mut comments = BTreeMap::new();
        for post in posts {
            comments.insert(post.clone(), read(Comments, &format!("/posts/{post}/comments")).await);
        }
        Self {
            posts: read(Posts, "/posts").await,
            comments,
            reading_side: read(Query, "/posts").await,
            read_model: stack.operator_get(Query, "/read-model").await.expect(200).text(),
            log: stack.log_bytes().await,
        }
    }
}

/// Waits until a subscriber has acknowledged the whole log.
async fn until_caught_up(stack: &Stack, service: ServiceName) {
    eventually(LIMIT, &format!("{service} has caught up"), async || {
        holds(stack.subscription(service.as_str()).await, |row| row["lag"] == 0)
    })
    .await;
}

/// A service that has lost its store gets everything back from the log, and adds nothing to it.
async fn refills(service: ServiceName) {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let posts = some_history(&blog).await;
    until_caught_up(&stack, service).await;
    until_caught_up(&stack, Comments).await;
    let before = Picture::take(&stack, &posts).await;

    stack.kill(service).await;
    stack.wipe(service);
    stack.start_service(service).await;
    until_caught_up(&stack, service).await;
    assert_eq!(Picture::take(&stack, &posts).await, before);

    // It goes on as if nothing had been, and what it had said before it does not say again.
    let post = blog.post("After the loss").await;
    blog.comment(&post, "goes on").await;
    blog.comment(&posts[0], "an old post as well").await;
    blog.until_settled(&post, 1).await;
    blog.until_settled(&posts[0], 1).await;
    until_caught_up(&stack, Query).await;
    let log = stack.log_bytes().await;
    assert!(log.starts_with(before.log.trim_end_matches(']')), "the log was only added to");
    let old: Vec<Value> = serde_json::from_str(&before.log).expect("events");
    assert_eq!(stack.log().await.len(), old.len() + 1 + 3 + 3, "one post, two comments, and nothing twice");
}

#[tokio::test]
async fn posts_refills_a_lost_store() {
    refills(Posts).await;
}

#[tokio::test]
async fn comments_refills_a_lost_store() {
    refills(Comments).await;
}

#[tokio::test]
async fn moderation_refills_a_lost_store() {
    refills(Moderation).await;
}

#[tokio::test]
async fn query_refills_a_lost_store_to_the_byte() {
    refills(Query).await;
}

#[tokio::test]
async fn whoever_was_down_catches_up() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let first = blog.post("Before").await;
    blog.until_known(&first).await;

    stack.kill(Query).await;
    let missed = blog.post("Query missed it").await;
    blog.comment(&missed, "and this").await;
    stack.start_service(Query).await;
    blog.until_settled(&missed, 1).await;

    stack.kill(Moderation).await;
    blog.comment(&first, "nobody judges").await;
    stack.start_service(Moderation).await;
    blog.until_settled(&first, 1).await;

    stack.kill(Comments).await;
    let unseen = blog.post("Comments missed it").await;
    stack.start_service(Comments).await;
    blog.comment(&unseen, "known now").await;
    blog.until_settled(&unseen, 1).await;

    stack.kill(Posts).await;
    blog.comment(&first, "posts is not needed for this").await;
    blog.until_settled(&first, 2).await;
    stack.start_service(Posts).await;
    let known = stack.at(Posts).get("/posts").send().await.expect(200).json();
    assert_eq!(known.as_object().map(serde_json::Map::len), Some(3));
    for service in ServiceName::PEERS {
        until_caught_up(&stack, service).await;
    }
}

#[tokio::test]
async fn a_bus_that_was_restarted_goes_on_where_it_was() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("Before").await;
    blog.until_known(&post).await;
    let log = stack.log_bytes().await;
    stack.crash(EventBus).await;
    blog.comment(&post, "after a crash").await;
    blog.until_settled(&post, 1).await;
    stack.restart(EventBus).await;
    blog.comment(&post, "after a restart").await;
    blog.until_settled(&post, 2).await;
    assert!(stack.log_bytes().await.starts_with(log.trim_end_matches(']')));
    assert_eq!(stack.log().await.len(), 1 + 3 + 3, "nothing twice");
}

#[tokio::test]
async fn posts_and_comments_keep_accepting_while_the_bus_is_down_and_all_arrives() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let old = blog.post("Before").await;
    blog.until_known(&old).await;
    stack.kill(EventBus).await;
    let mut posts = Vec::new();
    for n in 0..20 {
        posts.push(blog.post(&format!("While it was down {n}")).await);
        blog.comment(&old, &format!("comment {n}")).await;
    }
    stack.start_service(EventBus).await;
    for post in &posts {
        blog.until_known(post).await;
    }
    let old = blog.until_settled(&old, 20).await;
    let expected: Vec<_> = (0..20).map(|n| format!("comment {n}")).collect();
    assert_eq!(contents(&old["comments"]), expected, "in the order in which they were written");
    assert_eq!(stack.log().await.len(), 1 + 20 + 3 * 20, "nothing twice");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9_of_every_process() {
    let mut stack = Stack::services().await;
    let blog = stack.blog();
    let mut posts = Vec::new();
    for n in 0..4 {
        posts.push(blog.post(&format!("Post {n}")).await);
        blog.until_known(&posts[n]).await;
    }
    let load = Load::start(&blog, &posts);
    eventually(LIMIT, "the load is on", async || holds(stack.log().await.len(), |events| *events > 200)).await;
    // Acknowledged, and with luck not yet published.
    let last = blog.post("The last one").await;
    stack.kill_everything().await;
    let written = load.end().await;
    assert!(written.len() > 50, "{} are no load", written.len());

    stack.up().await;
    let blog = stack.blog();
    blog.until_known(&last).await;
    until_all_approved(&blog, &written).await;
    blog.comment(&last, "and on it goes").await;
    blog.until_settled(&last, 1).await;
}

#[tokio::test]
async fn a_repeated_request_is_one_creation_even_across_a_kill_9() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let create = async |title: &str| {
        let request = blog.posts.post("/posts/create").header("idempotency-key", "post-key");
        request.json(&json!({ "title": title })).send().await
    };
    let first = create("Once").await.expect(201);
    let post = id_of(&first.json());
    let location = first.header("location").to_owned();
    blog.until_known(&post).await;
    let comment = async |content: &str| {
        let request = blog.comments.post(&format!("/posts/{post}/comments")).header("idempotency-key", "key");
        request.json(&json!({ "content": content })).send().await
    };
    let said = comment("Once").await.expect(201);
    blog.until_settled(&post, 1).await;
    for service in [Posts, Comments] {
        stack.kill(service).await;
        stack.start_service(service).await;
    }
    let again = create("Once").await.expect(201);
    assert_eq!((again.text(), again.header("location")), (first.text(), location.as_str()));
    assert_eq!(statuses(&comment("Once").await.expect(201).json()), statuses(&said.json()));
    create("Something else").await.expect_problem(422);
    comment("Something else").await.expect_problem(422);
    assert_eq!(stack.log().await.len(), 1 + 3);
}

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
        assert_eq!(event["correlationid"], commented["id"], "what began it all");
        let traced = event["traceparent"].as_str().expect("a trace");
        assert!(traced.contains(trace), "{traced}");
    }
    assert_eq!(moderated["causationid"], commented["id"]);
    assert_eq!(updated["causationid"], moderated["id"]);
}

#[tokio::test]
async fn the_page_is_read_while_posts_comments_moderation_and_the_bus_are_down() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Always readable").await;
    blog.comment(&post, "always there").await;
    blog.until_settled(&post, 1).await;
    for service in [Posts, Comments, Moderation, EventBus] {
        stack.kill(service).await;
    }
    let page = stack.front_door().get("/").send().await.expect(200).text();
    assert!(page.contains("Always readable"), "{page}");
    let page = stack.front_door().get(&format!("/p/{post}")).send().await.expect(200).text();
    assert!(page.contains("Always readable") && page.contains("always there"), "{page}");
    assert_eq!(contents(&blog.read_post(&post).await["comments"]), ["always there"]);
    let answer = blog.posts.post("/posts/create").json(&json!({ "title": "x" })).send().await;
    answer.expect_problem(503);
    blog.try_comment(&post, "x").await.expect_problem(503);
}

/// Follows a form to the page that it ends on.
async fn submit(stack: &Stack, path: &str, fields: &[(&str, &str)]) -> (String, String) {
    let origin = stack.front_door().url.clone();
    let request = stack.front_door().post(path).header("origin", &origin).form(fields);
    let answer = request.send().await.expect(303);
    let location = answer.header("location").to_owned();
    let path = location.split('#').next().unwrap_or_default();
    let page = stack.front_door().get(path).header("cookie", &answer.cookies()).send().await.expect(200);
    (location, page.text())
}

#[tokio::test]
async fn whoever_writes_reads_it_on_the_very_next_page() {
    let stack = Stack::start().await;
    for n in 0..10 {
        let title = format!("Written a moment ago {n}");
        let (location, page) = submit(&stack, "/p/new", &[("title", &title), ("body", ""), ("author", "")]).await;
        assert!(page.contains(&title), "{location}: {page}");
        let post = location.split(['?', '#']).next().expect("a path").to_owned();
        let content = format!("A comment that nobody else can read yet {n}");
        let (location, page) = submit(&stack, &format!("{post}/comments"), &[("content", &content)]).await;
        assert!(page.contains(&content), "{location}: {page}");
    }
}

#[tokio::test]
async fn a_poison_event_stops_its_own_post_alone_until_it_is_discarded() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let poison = json!({ "type": "PostCreated", "data": { "id": "poisoned", "title": { "an": "object" } } });
    stack.publish(Posts, &poison).await;
    stack.publish(Posts, &post_created("poisoned", "The same post, now in order")).await;
    let other = blog.post("Another post").await;
    blog.comment(&other, "is not held up").await;
    blog.until_settled(&other, 1).await;

    let letters = stack.dead_letters(Query).await;
    let [first, second] = &letters[..] else { panic!("two dead letters, not {letters:#?}") };
    for (letter, attempts) in [(first, 1), (second, 0)] {
        assert_eq!(letter["key"], "poisoned");
        assert_eq!(letter["attempts"], attempts);
        assert_eq!(letter["event"]["type"], "PostCreated");
    }
    assert_eq!(first["event"]["data"], poison["data"], "as it was published");
    assert!(first["error"].as_str().is_some_and(|why| why.contains("cannot be read")), "{first}");
    assert!(blog.read_post("poisoned").await.is_null());
    until_caught_up(&stack, Query).await;

    let id = first["id"].as_i64().expect("a number");
    let redrive = format!("/dead-letters/{id}/redrive");
    stack.at(Query).post(&redrive).send().await.expect_problem(401);
    stack.at(Query).get("/dead-letters").send().await.expect_problem(401);
    let came_to = stack.operator_post(Query, &redrive).await.expect(200).json();
    assert_eq!(came_to, json!({ "applied": 0, "remaining": 2 }), "it is as it was");
    // It waits through a restart, too.
    stack.restart(Query).await;
    assert_eq!(stack.dead_letters(Query).await.len(), 2);

    let came_to = stack.operator_post(Query, &format!("/dead-letters/{id}/discard")).await.expect(200).json();
    assert_eq!(came_to, json!({ "applied": 1, "remaining": 0 }));
    assert_eq!(blog.read_post("poisoned").await["title"], "The same post, now in order");
    assert_eq!(stack.dead_letters(Query).await, [Value::Null; 0]);
    stack.operator_post(Query, &redrive).await.expect_problem(404);
    stack.publish(Posts, &post_created("unrelated", "Nothing waits any more")).await;
    blog.until_known("unrelated").await;
}

#[tokio::test]
async fn a_log_that_lost_its_tail_is_said_and_nothing_is_delivered() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let posts = some_history(&blog).await;
    until_caught_up(&stack, Query).await;
    let before = stack.operator_get(Query, "/read-model").await.expect(200).text();

    stack.kill(EventBus).await;
    stack.wipe(EventBus);
    stack.start_service(EventBus).await;
    // It finds out at its start; or, where it runs on, with its next heartbeat.
    stack.crash(Query).await;
    let readiness = async || stack.admin(Query).get("/readyz").try_send().await;
    let problem = eventually(LIMIT, "query is not ready", async || {
        holds(readiness().await?, |answer| answer.status == 503 && answer.text().contains("lost"))
    })
    .await
    .expect_problem(503);
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("the bus has lost events")), "{problem}");
    let status = said(&stack.cli(&["status"]).await);
    assert!(status.contains("query is not ready: ") && status.contains("the bus has lost events"), "{status}");
    eventually(LIMIT, "the bus says it, too", async || {
        holds(stack.output(), |output| output.contains("the log has lost its tail"))
    })
    .await;

    // New events now have places in the log that query has seen: none of them must reach it.
    for n in 0..4 {
        blog.post(&format!("After the loss {n}")).await;
    }
    eventually(LIMIT, "they are in the new log", async || holds(stack.log().await.len(), |n| *n >= 4)).await;
    assert!(readiness().await.is_ok_and(|answer| answer.status == 503));
    assert_eq!(stack.operator_get(Query, "/read-model").await.expect(200).text(), before);
    let page = blog.read().await;
    assert_eq!(page.as_object().map(serde_json::Map::len), Some(posts.len()), "readers see what there was");
}

#[tokio::test]
async fn everything_stops_in_order_within_seconds_though_readers_still_listen() {
    let mut stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Watched").await;
    blog.until_known(&post).await;
    let mut streams = Vec::new();
    for n in 0..6 {
        let place = if n % 2 == 0 { stack.front_door() } else { stack.at(Query) };
        streams.push(Stream::open(place.get("/live")).await);
    }
    let log = stack.at(EventBus).get("/events/stream").token(&stack.secret("OPERATOR_TOKEN"));
    streams.push(Stream::open(log).await);
    for stream in &mut streams {
        assert!(stream.next().await.is_some(), "each is open");
    }

    let ended = stack.interrupt().await;
    assert_eq!(ended.code, Some(0), "{}", stack.output());
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    for stream in &mut streams {
        while stream.next().await.is_some() {}
    }
    let output = stack.output();
    assert!(!output.contains("cut off") && !output.contains("not everything"), "{output}");

    stack.up().await;
    assert_eq!(stack.public_blog().read_post(&post).await["title"], "Watched");
    assert_eq!(stack.interrupt().await.code, Some(0));
}

#[tokio::test]
async fn a_data_folder_belongs_to_one_stack_at_a_time() {
    let stack = Stack::services().await;
    let before = stack.pids();
    let second = stack.second_up().await;
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("already"), "{}", said(&second));
    let post = stack.blog().post("The first one does not notice").await;
    stack.blog().until_known(&post).await;
    assert_eq!(stack.pids(), before);
}

#[tokio::test]
async fn two_stacks_live_beside_each_other() {
    let (one, other) = Stack::two().await;
    assert_ne!(one.secret("OPERATOR_TOKEN"), other.secret("OPERATOR_TOKEN"));
    let (mine, yours) = (one.blog(), other.blog());
    let (a, b) = (mine.post("In one").await, yours.post("In the other").await);
    mine.until_known(&a).await;
    yours.until_known(&b).await;
    mine.comment(&a, "here").await;
    mine.until_settled(&a, 1).await;
    assert!(mine.read_post(&b).await.is_null() && yours.read_post(&a).await.is_null());
    let stranger = other.at(EventBus).get("/events").token(&one.secret("OPERATOR_TOKEN")).send().await;
    stranger.expect_problem(401);
}

#[tokio::test]
async fn a_comment_that_a_rule_holds_waits_for_a_person() {
    let rules = tempfile::NamedTempFile::new().expect("a file");
    let text = r#"{"rules":[{"id":"links","words":["http://"],"action":"hold","reason":"has a link"}]}"#;
    std::fs::write(rules.path(), text).expect("the rules");
    let rules = rules.path().to_str().expect("a plain path");
    let stack = Setup::new().without(Frontend).with_env("RULES", rules).start().await;
    let blog = stack.blog();
    let post = blog.post("Moderated").await;
    let held = blog.comment(&post, "see http://example.com").await;
    blog.comment(&post, "no link").await;
    let queue = eventually(LIMIT, "it waits for a person", async || {
        let queue = stack.operator_get(Moderation, "/moderation/queue").await.expect(200).json();
        holds(queue, |queue| queue[0]["comment"]["id"] == held.as_str())
    })
    .await;
    assert_eq!(queue.as_array().map(Vec::len), Some(1), "{queue}");
    // What waits for a person waits through a lost store, too.
    stack.kill(Moderation).await;
    stack.wipe(Moderation);
    stack.start_service(Moderation).await;
    let decision = format!("/moderation/comments/{held}");
    let verdict = json!({ "status": "rejected", "reason": "advertises" });
    stack.at(Moderation).post(&decision).json(&verdict).send().await.expect_problem(401);
    eventually(LIMIT, "it waits again, and is decided", async || {
        let token = stack.secret("OPERATOR_TOKEN");
        let answer = stack.at(Moderation).post(&decision).token(&token).json(&verdict).send().await;
        holds(answer, |answer| answer.status == 204)
    })
    .await;
    let settled = blog.until_settled(&post, 2).await;
    assert_eq!(statuses(&settled["comments"]), ["rejected", "approved"]);
    assert_eq!(settled["comments"][0]["reason"], "advertises");
}
