//! The one door that the world comes through: what it lets in, what it keeps out, and how it answers.

use serde_json::{Value, json};
use shared::ServiceName::{Comments, EventBus, Frontend, Moderation, Posts, Query};
use std::time::{Duration, Instant};
use system_tests::blog::id_of;
use system_tests::http::Answer;
use system_tests::sse::Stream;
use system_tests::{LIMIT, Stack, eventually, holds, processes, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What no public path may reach.
const PRIVATE: [&str; 7] =
    ["events", "metrics", "livez", "readyz", "subscriptions", "dead-letters", "read-model"];

/// Ways to write a path that a careless program reads as `/{private}`.
const TRICKS: [&str; 42] = [
    "/@",
    "/@/",
    "//@",
    "///@",
    "/./@",
    "/../@",
    "/@?a=b",
    "/@?/posts",
    "/@;/posts",
    "/@%20",
    "/@%00",
    "/%2e/@",
    "/%2f@",
    "/posts/../@",
    "/posts/./../@",
    "/posts/%2e%2e/@",
    "/posts/%2E%2e/@",
    "/posts/.%2e/@",
    "/posts/%2e%2e%2f@",
    "/posts/..%2f@",
    "/posts/..%2F@",
    "/posts/..%5c@",
    "/posts/..\\@",
    "\\@",
    "/posts/..;/@",
    "/posts/..;a=b/@",
    "/posts/%252e%252e/@",
    "/posts/..%252f@",
    "/posts/..%c0%af@",
    "/posts//@",
    "/posts//../@",
    "/posts/x/../../@",
    "/posts/create/../@",
    "/posts/create/../../@",
    "/query/../@",
    "/query/..%2f@",
    "/query/%2e%2e/@",
    "/query//@",
    "/query/posts/..%2f..%2f@",
    "/live/../@",
    "/moderation/../@",
    "/moderation/..%2f@",
];

#[tokio::test]
async fn no_trick_with_the_path_reaches_what_is_private() {
    let stack = Stack::start().await;
    let post = stack.public_blog().post("Something for the log").await;
    stack.public_blog().until_known(&post).await;
    let (door, token) = (stack.front_door().authority(), stack.secret("OPERATOR_TOKEN"));
    // What the private routes would say.
    let tells = ["\"specversion\"", "# TYPE", "lastError", "\"attempts\"", "[\"post\"", "\r\n\r\nok"];
    let head = |line: &str| {
        format!("{line} HTTP/1.1\r\nhost: {door}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n")
    };
    for private in PRIVATE {
        let first = format!("/%{:02x}{}", private.as_bytes()[0], &private[1..]);
        let capital = format!("/{}", private.to_uppercase());
        let absolute = format!("{}/{private}", stack.at(EventBus).url);
        let paths = TRICKS.iter().map(|trick| trick.replace('@', private)).chain([first, capital, absolute]);
        for path in paths {
            for method in ["GET", "POST"] {
                let answer = raw::exchange(door, head(&format!("{method} {path}")).as_bytes()).await;
                let status = raw::status(&answer);
                assert!(matches!(status, 400 | 404 | 405), "{method} {path}: {answer}");
                for tell in tells {
                    assert!(!answer.contains(tell), "{method} {path}: {answer}");
                }
            }
        }
    }
    for line in [format!("CONNECT {}", stack.at(EventBus).authority()), "OPTIONS *".into(), "GET events".into()] {
        let answer = raw::exchange(door, head(&line).as_bytes()).await;
        assert!(matches!(raw::status(&answer), 400 | 404 | 405), "{line}: {answer}");
    }
    // The same paths where they do belong, so that the list above is known to be the right one.
    let bus = stack.operator_get(EventBus, "/events").await.expect(200).text();
    assert!(bus.contains(tells[0]));
    assert_eq!(stack.admin(Frontend).get("/livez").send().await.expect(200).text(), "ok");
    assert!(stack.admin(Frontend).get("/metrics").send().await.expect(200).text().contains("# TYPE"));
}

#[tokio::test]
async fn a_second_request_cannot_hide_in_the_first() {
    let stack = Stack::start().await;
    let door = stack.front_door().authority();
    let hidden = format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", stack.at(Comments).authority());
    let framings = [
        format!("content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: xchunked\r\ncontent-length: 2\r\n\r\n{{}}{hidden}"),
        format!("content-length: 2\r\ncontent-length: 40\r\n\r\n{{}}{hidden}"),
        format!("content-length: +2\r\n\r\n{{}}{hidden}"),
    ];
    for framing in framings {
        let request =
            format!("POST /posts/x/comments HTTP/1.1\r\nhost: {door}\r\nconnection: close\r\n{framing}");
        let answer = raw::exchange(door, request.as_bytes()).await;
        let answers = answer.matches("HTTP/1.1 ").count();
        assert_eq!(answers, 1, "{framing:?}: {answer}");
        assert!((400..500).contains(&raw::status(&answer)), "{framing:?}: {answer}");
    }
}

#[tokio::test]
async fn the_live_stream_comes_through_at_once_and_goes_on_where_it_broke_off() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let door = stack.front_door();
    let open_at_first = processes::open_files(stack.pid(Query).expect("query runs"));
    let mut stream = Stream::open(door.get("/live")).await;
    let hello = stream.next().await.expect("a greeting");
    assert_eq!(hello.name, "hello");
    let mut posts = vec![blog.post("Seen live").await];
    let told = stream.until("the post", |event| event.name == "change").await;
    assert_eq!(told.json()["postId"], posts[0].as_str());
    drop(stream);

    for n in 0..3 {
        posts.push(blog.post(&format!("Missed {n}")).await);
        blog.until_known(&posts[n + 1]).await;
    }
    let mut resumed = Stream::open(door.get("/live").header("last-event-id", &told.id)).await;
    for missed in &posts[1..] {
        let event = resumed.until("what was missed", |event| event.name == "change").await;
        assert_eq!(event.json()["postId"], missed.as_str(), "in order, none left out: {:?}", resumed.seen());
        assert!(event.id > told.id);
    }
    // From the beginning, too; and of one post alone.
    let mut all = Stream::open(door.get("/live").header("last-event-id", "0")).await;
    all.until("the first post", |event| event.data.contains(&posts[0])).await;
    let mut one = Stream::open(door.get(&format!("/live?post={}", posts[3])).header("last-event-id", "0")).await;
    let event = one.until("its post", |event| event.name == "change").await;
    assert_eq!(event.json()["postId"], posts[3].as_str());
    door.get("/live").header("last-event-id", "never").send().await.expect_problem(400);
    door.get("/live?post=a%20b").send().await.expect_problem(400);

    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(Stream::open(door.get("/live")).await);
    }
    drop((crowd, resumed, all, one));
    eventually(LIMIT, "query hears that the readers have left", async || {
        let open = processes::open_files(stack.pid(Query).expect("query runs"));
        holds(open, |open| *open <= open_at_first + 10)
    })
    .await;
}

#[tokio::test]
async fn a_live_stream_outlasts_a_restart_of_the_reading_side() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let mut stream = Stream::open(stack.front_door().get("/live")).await;
    let hello = stream.next().await.expect("a greeting");
    stack.crash(Query).await;
    while stream.next().await.is_some() {}
    let post = blog.post("Written while nobody listened").await;
    eventually(LIMIT, "query answers again", async || {
        holds(stack.front_door().get("/posts").send().await.status, |status| *status == 200)
    })
    .await;
    let mut again = Stream::open(stack.front_door().get("/live").header("last-event-id", &hello.id)).await;
    let event = again.until("the post", |event| event.name == "change").await;
    assert_eq!(event.json()["postId"], post.as_str());
}

#[tokio::test]
async fn what_another_site_sends_is_refused() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let (door, own) = (stack.front_door(), stack.front_door().url.clone());
    let post = blog.post("Mine").await;
    blog.until_known(&post).await;
    let json = json!({ "title": "Planted", "content": "Planted" });
    let paths = ["/posts/create".to_owned(), format!("/posts/{post}/comments"), "/p/new".to_owned(), format!("/p/{post}/comments")];
    for path in &paths {
        let foreign: [&[(&str, &str)]; 5] = [
            &[("sec-fetch-site", "cross-site"), ("origin", "http://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("origin", "http://other.posts.com")],
            &[("origin", "http://evil.example")],
            &[("origin", "null")],
        ];
        for headers in foreign {
            for is_json in [true, false] {
                let request = door.post(path);
                let request =
                    if is_json { request.json(&json) } else { request.form(&[("title", "Planted"), ("content", "Planted")]) };
                let request = headers.iter().fold(request, |r, (name, value)| r.header(name, value));
                let answer = request.send().await;
                assert_eq!(answer.status, 403, "{path} {headers:?}: {answer}");
                answer.expect_problem(403);
            }
        }
    }
    let text = door.get("/posts").send().await.text();
    assert!(!text.contains("Planted"), "{text}");
    // The site's own pages, and programs, which send no such headers.
    let create = || door.post("/posts/create").json(&json!({ "title": "Own" }));
    create().header("sec-fetch-site", "same-origin").header("origin", &own).send().await.expect(201);
    create().header("origin", &own).send().await.expect(201);
    create().send().await.expect(201);
    // Following a link from elsewhere is reading.
    door.get("/").header("sec-fetch-site", "cross-site").send().await.expect(200);
}

#[tokio::test]
async fn no_answer_lets_another_site_read_it() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Mine").await;
    blog.until_known(&post).await;
    let paths = [
        "/".to_owned(),
        format!("/p/{post}"),
        "/p/unknown".to_owned(),
        "/posts".to_owned(),
        "/posts?limit=1".to_owned(),
        format!("/posts/{post}/comments"),
        format!("/query/posts/{post}"),
        "/moderation/queue".to_owned(),
        "/posts/create".to_owned(),
        "/nothing".to_owned(),
        "/favicon.svg".to_owned(),
    ];
    for path in &paths {
        for method in [http::Method::GET, http::Method::OPTIONS, http::Method::POST] {
            let request = stack.front_door().request(method.clone(), path).header("origin", "http://evil.example");
            let request = request.header("access-control-request-method", "POST");
            let answer = request.send().await;
            let allowed: Vec<_> =
                answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).collect();
            assert!(allowed.is_empty(), "{method} {path}: {answer}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}: {answer}");
            assert!(!answer.header("x-request-id").is_empty(), "{method} {path}: {answer}");
        }
    }
    let live = stack.front_door().get("/live").header("origin", "http://evil.example");
    let mut live = Stream::open(live).await;
    assert!(live.next().await.is_some());
}

#[tokio::test]
async fn a_service_that_is_down_or_hangs_is_503_and_the_rest_goes_on() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let door = stack.front_door();
    let post = blog.post("Readable").await;
    blog.until_known(&post).await;
    let comments = format!("/posts/{post}/comments");
    stack.kill(Comments).await;
    blog.try_comment(&post, "x").await.expect_problem(503);
    door.get(&comments).send().await.expect_problem(503);
    door.get(&format!("/p/{post}")).send().await.expect(200);
    door.get("/posts").send().await.expect(200);
    stack.start_service(Comments).await;
    blog.comment(&post, "back").await;
    blog.until_settled(&post, 1).await;

    // One that hangs is given up on, and keeps nobody else waiting meanwhile.
    let paused = stack.pause(Posts);
    let hanging = async {
        let began = Instant::now();
        let request = door.post("/posts/create").json(&json!({ "title": "x" }));
        request.send().await.expect_problem(503);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    };
    let others = async {
        for _ in 0..20 {
            let began = Instant::now();
            door.get("/").send().await.expect(200);
            blog.comment(&post, "not kept waiting").await;
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    };
    tokio::join!(hanging, others);
    drop(paused);

    stack.kill(Query).await;
    for path in ["/posts", "/posts?limit=5", "/live", &format!("/query/posts/{post}")] {
        door.get(path).send().await.expect_problem(503);
    }
    for path in ["/", &format!("/p/{post}")] {
        let page = door.get(path).header("accept", "text/html").send().await.expect(503);
        assert!(page.header("content-type").starts_with("text/html"), "{page}");
        assert!(!page.header("retry-after").is_empty(), "{page}");
    }
    let later = blog.post("Written while nobody can read").await;
    stack.start_service(Query).await;
    blog.until_known(&later).await;
}

#[tokio::test]
async fn an_error_is_a_problem_that_gives_nothing_away() {
    let stack = Stack::start().await;
    let door = stack.front_door();
    let post = stack.public_blog().post("Here").await;
    stack.public_blog().until_known(&post).await;
    let get = async |path: &str| door.get(path).send().await;
    for path in ["/nothing", "/pkg/nothing.js", "/pkg/../Cargo.toml", "/posts/x", "/query", "/query/x", "/moderation", "/query/posts/unknown", "/.env", "/data/secrets.env"] {
        get(path).await.expect_problem(404);
    }
    for path in ["/posts?limit=0", "/posts?limit=101", "/posts?limit=x", "/posts?cursor=x", "/posts?cursor=%ff", "/query/posts/x?wait=5001", "/query/posts/x?wait=-1"] {
        get(path).await.expect_problem(400);
    }
    get("/posts/create").await.expect_problem(405);
    for method in [http::Method::PUT, http::Method::PATCH, http::Method::DELETE] {
        let answer = door.request(method, "/posts/create").send().await;
        assert_eq!(answer.header("allow"), "POST", "{answer}");
        answer.expect_problem(405);
    }
    door.request(http::Method::DELETE, "/posts").send().await.expect_problem(405);
    get("/moderation/queue").await.expect_problem(401);
    door.post("/moderation/comments/x").json(&json!({ "status": "approved" })).send().await.expect_problem(401);
    let queue = door.get("/moderation/queue").token(&stack.secret("OPERATOR_TOKEN")).send().await.expect(200);
    assert_eq!(queue.json(), json!([]));
    // The site's own answer for people.
    let page = door.get("/nothing").header("accept", "text/html,*/*").send().await.expect(404);
    assert!(page.header("content-type").starts_with("text/html"), "{page}");
}

#[tokio::test]
async fn clients_that_dawdle_keep_nobody_waiting_and_are_cut_off() {
    let stack = Stack::start().await;
    let door = stack.front_door();
    let mut dawdlers = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(door.authority()).await.expect("a connection");
        let head: &[u8] = match n % 3 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ",
            _ => b"POST /posts/create HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{",
        };
        stream.write_all(head).await.expect("taken");
        dawdlers.push((n, stream));
    }
    for _ in 0..10 {
        let began = Instant::now();
        door.get("/").send().await.expect(200);
        stack.public_blog().post("Not kept waiting").await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let (_, mut slow) = dawdlers.swap_remove(1);
    let mut rest = Vec::new();
    let cut_off = tokio::time::timeout(Duration::from_secs(15), slow.read_to_end(&mut rest)).await;
    assert!(cut_off.is_ok(), "a head that never ends is cut off");
    assert!(rest.is_empty() || raw::status(&String::from_utf8_lossy(&rest)) == 408, "{rest:?}");
}

/// A case of the table of limits.
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
        // Four bytes a character are the most there are; escaped in JSON, they would be more than the route takes.
        ("/posts/create", json!({ "title": "t", "body": "😀".repeat(50_000) })),
        (&comments, json!({ "content": "x" })),
        (&comments, json!({ "content": x(4_000), "author": x(80) })),
        (&comments, json!({ "content": "א\u{200F}\u{200E} 👩\u{200D}💻" })),
    ];
    for (path, body) in &accepted {
        let answer = ask(&stack, path, body).await;
        assert_eq!(answer.status, 201, "{path} {}: {answer}", &body.to_string()[..60.min(body.to_string().len())]);
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
        let pointers: Vec<_> = problem["errors"].as_array().into_iter().flatten().map(|e| &e["pointer"]).collect();
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
        // A title is no field of a comment; what counts here is that it was read.
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
    eventually(LIMIT, "what was accepted is in the log, and nothing else", async || {
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
    assert_eq!((&post["body"], &post["author"], &post["version"]), (&json!("**text**"), &json!("Ada"), &json!(1)));
    assert!(post["createdAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{post}");
    stack.public_blog().until_known(&id_of(&post)).await;
    let read = door.get(created.header("location")).send().await.expect(200).json();
    assert_eq!((&read["id"], &read["title"], &read["body"]), (&post["id"], &json!("Located"), &json!("**text**")));

    let path = format!("/posts/{}/comments", id_of(&post));
    let request = door.post(&path).json(&json!({ "content": "hi", "author": "Bob" }));
    let answer = request.send().await.expect(201);
    let comment = answer.json()[0].clone();
    assert_eq!((&comment["author"], &comment["mine"]), (&json!("Bob"), &json!(true)));
    assert_eq!(answer.header("location"), format!("{path}#{}", id_of(&comment)));
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let again = door.post(&path).header("cookie", &answer.cookies()).json(&json!({ "content": "again" }));
    assert_eq!(again.send().await.expect(201).cookies(), "", "a writer who is known keeps the cookie");

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
