//! Bodies that do not end, and answers that nobody reads.

use crate::visitor::visit;
use crate::{connect, get, send, start, status};
use serde_json::json;
use shared::ServiceName::{self, Comments, Frontend, Posts, Query};
use std::collections::BTreeMap;
use system_tests::{Stack, processes};

/// What the manifests grant, in KiB.
const GRANTED_KIB: [(ServiceName, u64); 4] =
    [(Frontend, 256 * 1024), (Posts, 128 * 1024), (Comments, 128 * 1024), (Query, 128 * 1024)];

fn assert_within_limits(stack: &Stack) {
    let pids = stack.pids();
    let used: BTreeMap<_, _> =
        GRANTED_KIB.iter().map(|(name, _)| (*name, processes::memory_kib(pids[name]))).collect();
    println!("memory in KiB: {used:?}");
    for (name, granted) in GRANTED_KIB {
        assert!(used[&name] < granted, "{name}: {used:?}");
    }
}

#[tokio::test]
async fn bodies_held_back_by_one_client_stop_no_other_writer() {
    const BODY: usize = 1024 * 1024;
    let stack = start().await;
    let authority = stack.front_door().authority();
    let post = stack.public_blog().post("Visited").await;
    stack.public_blog().until_known(&post).await;
    let head = format!(
        "POST /p/new HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {BODY}\r\n\r\n"
    );
    let body = [head.as_bytes(), &vec![b'x'; BODY - 1]].concat();
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = connect(2, authority).await.expect("a connection");
        send(&mut stream, &body).await;
        held.push(stream);
    }
    visit(&stack, &post, "40 bodies are held back").await;
    assert_within_limits(&stack);
    let mut refused = 0;
    for stream in &mut held {
        refused += usize::from(status(stream).await == 429);
    }
    assert!(refused >= 32, "8 MiB are the share of one client: {refused}");
}

#[tokio::test]
async fn answers_that_nobody_reads_take_bounded_memory() {
    const COMMENTS: usize = 256;
    const READERS: u8 = 30;
    let stack = start().await;
    let post = stack.public_blog().post("A large thread").await;
    stack.public_blog().until_known(&post).await;
    let other = stack.public_blog().post("Visited").await;
    stack.public_blog().until_known(&other).await;
    // Four million bytes, written by several clients: each has a limit.
    let path = format!("/posts/{post}/comments");
    let text = "\u{1F30D}".repeat(4_000);
    for n in 0..COMMENTS {
        let request = stack.at(Comments).post(&path).header("prefer", "return=minimal");
        let request = request.header("x-forwarded-for", &format!("192.0.2.{}", n / 100));
        request.json(&json!({ "content": text })).send().await.expect(201);
    }
    stack.blog().until_settled(&post, COMMENTS.min(50)).await;
    let authority = stack.front_door().authority();
    // Through the front door, whose own buffers take some of it, and without it.
    let of = |service| stack.at(service).authority().to_owned();
    let whole = format!("/query/posts/{post}");
    let asked = [(authority.to_owned(), &path), (of(Comments), &path), (of(Query), &whole)];
    let (mut held, mut counts) = (Vec::new(), BTreeMap::<u16, usize>::new());
    for n in 0..READERS {
        for (authority, path) in &asked {
            let mut stream = connect(2 + n % 4, authority).await.expect("a connection");
            send(&mut stream, &get(authority, path)).await;
            *counts.entry(status(&mut stream).await).or_default() += 1;
            held.push(stream);
        }
    }
    visit(&stack, &other, "90 answers are not read").await;
    assert_within_limits(&stack);
    println!("answers: {counts:?}");
    assert!(counts.keys().all(|status| [200, 429, 503].contains(status)), "{counts:?}");
}
