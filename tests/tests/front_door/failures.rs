//! Services that are down or hang, slow clients, and the form of errors.

use serde_json::json;
use shared::ServiceName::{Comments, Posts, Query};
use std::time::{Duration, Instant};
use system_tests::{LIMIT, Stack, eventually, holds, processes, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

    // A request to a service that hangs times out, and other requests do not wait for it.
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
    for path in [
        "/nothing",
        "/pkg/nothing.js",
        "/pkg/../Cargo.toml",
        "/posts/x",
        "/query",
        "/query/x",
        "/moderation",
        "/query/posts/unknown",
        "/.env",
        "/data/secrets.env",
    ] {
        get(path).await.expect_problem(404);
    }
    for path in [
        "/posts?limit=0",
        "/posts?limit=101",
        "/posts?limit=x",
        "/posts?cursor=x",
        "/posts?cursor=%ff",
        "/query/posts/x?wait=5001",
        "/query/posts/x?wait=-1",
    ] {
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
    door.post("/moderation/comments/x")
        .json(&json!({ "status": "approved" }))
        .send()
        .await
        .expect_problem(401);
    let queue = door.get("/moderation/queue").token(&stack.secret("OPERATOR_TOKEN")).send().await.expect(200);
    assert_eq!(queue.json(), json!([]));
    // People get a page.
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
    assert!(cut_off.is_ok(), "the connection of an endless head is closed");
    assert!(rest.is_empty() || raw::status(&String::from_utf8_lossy(&rest)) == 408, "{rest:?}");
}

/// However many bodies are unfinished, the memory of a service stays below the limit of its container.
#[tokio::test]
async fn bodies_whose_end_is_held_back_end_no_service() {
    const CLIENTS: usize = 450;
    const BODY: usize = 250_000;
    const GRANTED_KIB: u64 = 96 * 1024;
    // Before the front door times out.
    const SOON: Duration = Duration::from_secs(10);
    let stack = Stack::start().await;
    let (blog, door, before) = (stack.public_blog(), stack.front_door(), stack.pids());
    let post = blog.post("Readable").await;
    blog.until_known(&post).await;
    let head = format!(
        "POST /posts/create HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n\r\n"
    );
    let begun = [head.into_bytes(), vec![b' '; BODY - 1]].concat();
    let mut held = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(door.authority()).await.expect("a connection");
        let (answer, mut request) = stream.split();
        // A refusal may come before the whole body has been sent.
        tokio::select! {
            _ = request.write_all(&begun) => {}
            _ = answer.readable() => {}
        }
        held.push(stream);
    }
    eventually(SOON, "bodies beyond the limit are refused", async || {
        let waiting = held.iter().filter(|stream| {
            let nothing = stream.try_read(&mut [0; 1024]).map_err(|e| e.kind());
            nothing == Err(std::io::ErrorKind::WouldBlock)
        });
        holds(waiting.count(), |waiting| waiting * BODY <= GRANTED_KIB as usize * 1024 / 2)
    })
    .await;
    assert_eq!(stack.pids(), before, "a service has ended");
    let memory = processes::memory_kib(before[&Posts]);
    assert!(memory < GRANTED_KIB, "{memory} KiB");
    door.get(&format!("/p/{post}")).send().await.expect(200);
    drop(held);
    eventually(LIMIT, "posts are accepted again", async || {
        let answer = blog.posts.post("/posts/create").json(&json!({ "title": "Later" })).send().await;
        holds(answer, |answer| answer.status == 201)
    })
    .await;
}
