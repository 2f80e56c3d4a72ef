//! The course's app: its client must work unchanged, and each of the eleven ways in which it loses or breaks
//! something has a test here that would find it again.

use serde_json::{Value, json};
use shared::ServiceName::{Comments, EventBus, Moderation, Posts, Query};
use std::time::Duration;
use system_tests::blog::{Blog, contents, id_of, statuses};
use system_tests::bus::{comment_created, post_created, signed};
use system_tests::load::{Load, until_all_approved};
use system_tests::signature::Direction;
use system_tests::sse::Stream;
use system_tests::{LIMIT, Setup, Stack, eventually, holds, processes};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

async fn posts(blog: &Blog, count: usize) -> Vec<String> {
    let mut posts = Vec::new();
    for n in 0..count {
        let post = blog.post(&format!("Post {n}")).await;
        blog.until_known(&post).await;
        posts.push(post);
    }
    posts
}

/// What the course's client and its students' scripts do, in their order.
async fn use_as_the_course_does(blog: &Blog) {
    let created = blog.posts.post("/posts/create").json(&json!({ "title": "First" })).send().await.expect(201);
    assert_eq!(created.header("content-type"), "application/json");
    let post = created.json();
    assert_eq!(post["title"], "First");
    let id = id_of(&post);
    let second = blog.post("Second").await;
    blog.until_known(&second).await;

    let answer = blog.try_comment(&id, "Nice").await.expect(201).json();
    assert_eq!((statuses(&answer), contents(&answer)), (vec!["pending"], vec!["Nice"]));
    let answer = blog.try_comment(&id, "I like orange").await.expect(201).json();
    let all = answer.as_array().expect("the whole array");
    assert_eq!(all.len(), 2);
    assert_eq!((&all[1]["content"], &all[1]["status"]), (&json!("I like orange"), &json!("pending")));
    blog.until_settled(&id, 2).await;

    let posts = blog.read().await;
    let entry = &posts[&id];
    assert_eq!((&entry["id"], &entry["title"]), (&json!(id), &json!("First")));
    assert_eq!(statuses(&entry["comments"]), ["approved", "rejected"]);
    assert_eq!(contents(&entry["comments"]), ["Nice", ""], "what is rejected is not told");
    assert_eq!(posts[&second]["comments"], json!([]));
    let text = blog.query.get("/posts").send().await.text();
    assert!(text.find(&id) < text.find(&second), "oldest post first: {text}");
}

#[tokio::test]
async fn the_courses_client_works_unchanged_with_each_service() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    use_as_the_course_does(&blog).await;

    let known = stack.at(Posts).get("/posts").send().await.expect(200).json();
    let (id, post) = known.as_object().and_then(|all| all.iter().next()).expect("an object keyed by id");
    assert_eq!((&post["id"], &post["title"]), (&json!(id), &json!("First")));
    let comments = blog.comments(id).await;
    assert_eq!(statuses(&comments), ["approved", "rejected"]);
    assert_eq!(blog.comments("nobody-knows-it").await, json!([]));

    let types: Vec<_> = stack.log().await.iter().map(|event| event["type"].clone()).collect();
    let count = |kind| types.iter().filter(|t| *t == kind).count();
    assert_eq!(
        ["PostCreated", "CommentCreated", "CommentModerated", "CommentUpdated"].map(count),
        [2, 2, 2, 2],
        "{types:?}"
    );
}

#[tokio::test]
async fn the_courses_client_works_unchanged_at_the_front_door() {
    let stack = Stack::start().await;
    use_as_the_course_does(&stack.public_blog()).await;
}

#[tokio::test]
async fn the_courses_events_are_taken_and_answered_as_in_the_course() {
    let stack = Stack::services().await;
    let answer = stack.publication(Posts, &post_created("a1b2c3d4", "As the course writes it")).send().await;
    assert_eq!(answer.expect(200).json()["status"], "OK");
    let comment = comment_created("e5f6a7b8", "a1b2c3d4", "fine");
    stack.publish(Comments, &comment).await;
    let post = stack.blog().until_settled("a1b2c3d4", 1).await;
    assert_eq!(post["title"], "As the course writes it");
    assert_eq!(statuses(&post["comments"]), ["approved"]);

    for (service, name) in
        [(Posts, "POSTS"), (Comments, "COMMENTS"), (Moderation, "MODERATION"), (Query, "QUERY")]
    {
        let secret = stack.secret(&format!("{name}_SECRET"));
        let answer = signed(stack.at(service), &secret, Direction::Deliver, 0, &comment).send().await;
        assert_eq!(answer.expect(200).json(), json!({}), "{service}");
        let strange = json!({ "type": "SomethingElse", "data": { "any": 1 }, "more": true });
        let answer = signed(stack.at(service), &secret, Direction::Deliver, 0, &strange).send().await;
        assert_eq!(answer.expect(200).json(), json!({}), "{service}");
    }
}

/// 1. A consumer paused for two seconds under load leaves comments `pending` for ever.
#[tokio::test]
async fn a_consumer_paused_under_load_leaves_no_comment_pending() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let load = Load::start(&blog, &posts(&blog, 8).await);
    for service in [Moderation, Query, Comments] {
        let paused = stack.pause(service);
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(paused);
    }
    let written = load.end().await;
    assert!(written.len() > 100, "{} are no load", written.len());
    until_all_approved(&blog, &written).await;
}

/// 2. Moderation down for one event means that comment is never moderated.
#[tokio::test]
async fn a_comment_written_while_moderation_is_down_is_moderated_when_it_is_back() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("Open for comments").await;
    stack.kill(Moderation).await;
    blog.comment(&post, "good").await;
    blog.comment(&post, "an orange").await;
    eventually(LIMIT, "readers see that two comments wait", async || {
        holds(blog.read_post(&post).await, |p| statuses(&p["comments"]) == ["pending", "pending"])
    })
    .await;
    stack.start_service(Moderation).await;
    let post = blog.until_settled(&post, 2).await;
    assert_eq!(statuses(&post["comments"]), ["approved", "rejected"]);
}

/// 3. The bus forgets everything on restart; so does comments.
#[tokio::test]
async fn neither_the_bus_nor_comments_forgets_anything_on_restart() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("To be remembered").await;
    for n in 0..5 {
        blog.comment(&post, &format!("comment {n}")).await;
    }
    blog.until_settled(&post, 5).await;
    let (log, comments) = (stack.log_bytes().await, blog.comments(&post).await);
    for service in [EventBus, Comments] {
        stack.kill(service).await;
        stack.start_service(service).await;
        assert_eq!(stack.log_bytes().await, log);
        assert_eq!(blog.comments(&post).await, comments);
        stack.restart(service).await;
        assert_eq!(stack.log_bytes().await, log);
        assert_eq!(blog.comments(&post).await, comments);
    }
    blog.comment(&post, "and one more").await;
    blog.until_settled(&post, 6).await;
}

/// 4. One comment on a post that does not exist stops replay there; later posts vanish behind a 200.
#[tokio::test]
async fn a_comment_on_a_post_that_does_not_exist_hides_no_later_post() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    blog.try_comment("nowhere", "lost").await.expect_problem(404);
    // A log from elsewhere may hold one nevertheless.
    stack.publish(Comments, &comment_created("stray", "nowhere", "lost")).await;
    let later = blog.post("Later").await;
    blog.comment(&later, "still here").await;
    blog.until_settled(&later, 1).await;

    stack.kill(Query).await;
    stack.wipe(Query);
    stack.start_service(Query).await;
    let post = blog.until_settled(&later, 1).await;
    assert_eq!(contents(&post["comments"]), ["still here"]);
    let posts = blog.read().await;
    assert_eq!(posts.as_object().map(|all| all.keys().collect::<Vec<_>>()), Some(vec![&later]));

    // The post may yet come: then its comment is there.
    stack.publish(Posts, &post_created("nowhere", "It was somewhere")).await;
    let post = blog.until_settled("nowhere", 1).await;
    assert_eq!(contents(&post["comments"]), ["lost"]);
}

/// 5. Restarting query under load duplicates comments; a repeated `PostCreated` empties its comments.
#[tokio::test]
async fn restarting_query_under_load_duplicates_no_comment_and_empties_no_post() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let posts = posts(&blog, 4).await;
    let load = Load::start(&blog, &posts);
    for _ in 0..3 {
        stack.crash(Query).await;
        eventually(LIMIT, "query answers again", async || blog.query.get("/posts").try_send().await).await;
    }
    stack.restart(Query).await;
    let written = load.end().await;
    until_all_approved(&blog, &written).await;

    let before = blog.read().await;
    for (n, post) in posts.iter().enumerate() {
        stack.publish(Posts, &post_created(post, &format!("Post {n}"))).await;
    }
    // Whatever the repetitions do, they have done it when a later post is there.
    let later = blog.post("Later").await;
    blog.until_known(&later).await;
    let mut after = blog.read().await;
    after.as_object_mut().expect("an object").remove(&later);
    let comments = |all: &Value| -> Vec<Value> { posts.iter().map(|p| all[p]["comments"].clone()).collect() };
    assert_eq!(comments(&after), comments(&before));
}

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
    // A name that means something elsewhere is a name like any other.
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
    assert_eq!(after, before, "a service has ended and was started again");
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

/// Accepts connections and never answers; tells how many are open.
async fn never_answers() -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (open, seen) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let open = open.clone();
            open.send_modify(|count| *count += 1);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
                open.send_modify(|count| *count -= 1);
            });
        }
    });
    (address, seen)
}

/// 8. A consumer that accepts and never answers makes the bus leak sockets and memory.
#[tokio::test]
async fn a_consumer_that_never_answers_costs_the_bus_one_connection_and_the_others_nothing() {
    let (address, open) = never_answers().await;
    let setup = Setup::new().without(shared::ServiceName::Frontend);
    let stack = setup.with_env("SUBSCRIBE", &format!("mute=http://{address}/events")).start().await;
    let blog = stack.blog();
    let bus = stack.pid(EventBus).expect("the bus runs");
    let all = posts(&blog, 8).await;
    let (files, memory) = (processes::open_files(bus), processes::memory_kib(bus));

    let load = Load::start(&blog, &all);
    // The bus gives up on an exchange and begins another: the first must be gone then.
    eventually(LIMIT, "the bus has tried again", async || {
        holds(stack.subscription("mute").await, |row| row["attempts"].as_i64() >= Some(1))
    })
    .await;
    let written = load.end().await;
    assert!(written.len() > 300, "{} are no load", written.len());
    until_all_approved(&blog, &written).await;

    let (files_now, memory_now) = (processes::open_files(bus), processes::memory_kib(bus));
    assert!(*open.borrow() <= 1, "{} connections to one consumer", *open.borrow());
    assert!(files_now < files + 20, "{files} open files became {files_now}");
    assert!(memory_now < memory + 32 * 1024, "{memory} KiB became {memory_now} KiB");
    let row = stack.subscription("mute").await;
    assert!(row["lag"].as_u64() > Some(written.len() as u64), "it is still to get everything: {row}");
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
    let secret_text = "a hidden orange";
    stack.kill(Moderation).await;
    let answer = blog.try_comment(&post, secret_text).await.expect(201);
    let cookie = answer.cookies();
    let comment = id_of(&answer.json()[0]);
    let query = format!("/query/posts/{post}");
    let comments = format!("/posts/{post}/comments");

    eventually(LIMIT, "its author reads it while it waits", async || {
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
    assert!(!read_everywhere("").await.contains("hidden"), "while it waits it is its author's alone");

    stack.start_service(Moderation).await;
    let settled = blog.until_settled(&post, 1).await;
    assert_eq!(settled["comments"][0]["status"], "rejected");
    eventually(LIMIT, "the comments service knows, too", async || {
        holds(blog.comments(&post).await, |all| statuses(all) == ["rejected"])
    })
    .await;
    for reader in ["", &cookie] {
        assert!(!read_everywhere(reader).await.contains("hidden"), "rejected text is nobody's");
    }
    let told = live.until("the verdict", |e| e.data.contains("rejected")).await;
    assert_eq!(told.json()["comment"]["id"], comment.as_str());
    assert!(live.seen().iter().all(|event| !event.data.contains("hidden")), "{:?}", live.seen());

    // Every way to say that it was approved after all.
    let log = stack.log_bytes().await;
    let data = json!({ "id": comment, "content": secret_text, "postId": post, "status": "approved", "version": 9 });
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
    assert_eq!(stack.log_bytes().await, log, "nothing was added");
    assert_eq!(statuses(&blog.comments(&post).await), ["rejected"]);
    assert_eq!(blog.read_post(&post).await, settled);
}

/// 10. Nothing refreshes after a submit.
#[tokio::test]
async fn what_was_submitted_is_on_the_next_page_and_its_fate_is_told_live() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let mut all = Stream::open(blog.query.get("/live")).await;
    for n in 0..10 {
        let post = blog.post(&format!("Fresh {n}")).await;
        let page = blog.query.get(&format!("/query/posts/{post}?wait=5000")).send().await.expect(200).json();
        assert_eq!(page["title"], format!("Fresh {n}"), "the next page knows it");
        let told = all.until("the post", |e| e.data.contains(&post)).await;
        assert_eq!(told.json()["post"]["title"], format!("Fresh {n}"));

        let mut one = Stream::open(blog.query.get(&format!("/live?post={post}"))).await;
        let comment = blog.comment(&post, "live").await;
        let path = format!("/query/posts/{post}?wait=5000&comment={comment}");
        let page = blog.query.get(&path).send().await.expect(200).json();
        assert_eq!(page["comments"][0]["id"], comment.as_str());
        let told = one.until("the verdict", |e| e.data.contains("approved")).await.json();
        assert_eq!(
            (&told["comment"]["id"], &told["comment"]["content"], &told["comment"]["status"]),
            (&json!(comment), &json!("live"), &json!("approved"))
        );
    }
}

/// 11. A dead process behind an open port: no probe notices.
#[tokio::test]
async fn a_dead_process_behind_an_open_port_is_noticed() {
    let stack = Stack::services().await;
    let row = async |service: &str| {
        let text = system_tests::stack::said(&stack.cli(&["status"]).await);
        text.lines().filter(|line| line.starts_with(service)).collect::<Vec<_>>().join("\n")
    };
    for service in [Posts, Comments, Moderation, Query, EventBus] {
        for probe in ["/livez", "/readyz"] {
            assert_eq!(stack.admin(service).get(probe).send().await.expect(200).text(), "ok", "{service}");
        }
    }
    let paused = stack.pause(Query);
    let port = stack.at(Query).authority();
    tokio::net::TcpStream::connect(port).await.expect("the port is open all the same");
    let said = row("query").await;
    assert!(said.contains("  no  ") && said.contains("does not answer"), "{said}");
    let said = row("posts").await;
    assert!(said.contains("  yes  "), "the others are as they were: {said}");
    drop(paused);
    eventually(LIMIT, "query is ready again", async || holds(row("query").await, |row| row.contains("  yes  "))).await;

    stack.crash(Query).await;
    eventually(LIMIT, "query is ready again", async || holds(row("query").await, |row| row.contains("  yes  "))).await;
}
