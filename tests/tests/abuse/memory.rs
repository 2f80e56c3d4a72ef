//! Bodies that do not end, and answers that nobody reads.

use crate::visitor::Site;
use crate::{connect, get, send, status};
use futures_util::{StreamExt, stream};
use serde_json::json;
use shared::ServiceName::{Comments, Query};
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_held_back_by_one_client_stop_no_other_writer() {
    const KIB: usize = 1024;
    const EACH: usize = 40;
    let site = Site::start().await;
    let visitor = site.visitor();
    let authority = site.front_door().authority();
    let mut held = Vec::new();
    // Bodies that are refused leave some of the memory; smaller ones take it.
    for size in [1024, 64, 4, 1].map(|kib| kib * KIB) {
        let head = format!(
            "POST /p/new HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {size}\r\n\r\n"
        );
        let body = [head.as_bytes(), &vec![b'x'; size - 1]].concat();
        for _ in 0..EACH {
            let mut stream = connect(2, authority).await.expect("a connection");
            send(&mut stream, &body).await;
            held.push(stream);
            // One after the other: of many that arrive at the same moment, each has a part when all are refused.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    visitor.leaves("160 bodies of up to 1 MiB held back", 1).await;
    let mut refused = 0;
    for stream in &mut held[..EACH] {
        refused += usize::from(status(stream).await == 429);
    }
    assert!(refused >= EACH - 8, "8 MiB are the share of one client: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_that_nobody_reads_or_only_slowly_take_bounded_memory() {
    const COMMENTS: usize = 1_250;
    /// So many at a time, that a slow machine settles them within the limit.
    const AT_A_TIME: usize = 250;
    const READERS: u8 = 30;
    let site = Site::start().await;
    let post = site.public_blog().post("A large thread").await;
    site.public_blog().until_known(&post).await;
    // Twenty million bytes, written by several clients: each has a limit.
    let path = format!("/posts/{post}/comments");
    let text = "\u{1F30D}".repeat(4_000);
    let write = async |n: usize| {
        let request = site.at(Comments).post(&path).header("prefer", "return=minimal");
        let request = request.header("x-forwarded-for", &format!("192.0.2.{}", n / 100));
        request.json(&json!({ "content": text })).send().await.expect(201);
    };
    for begun in (0..COMMENTS).step_by(AT_A_TIME) {
        stream::iter(begun..begun + AT_A_TIME).for_each_concurrent(8, write).await;
        site.blog().until_settled(&post, 50).await;
    }
    let mut visitor = site.visitor();
    let authority = site.front_door().authority();
    // Through the front door, whose own buffers take some of it, and without it.
    let of = |service| site.at(service).authority().to_owned();
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
    visitor.leaves("90 answers from a thread of 20 MB, not read", 4).await;
    assert!(counts.keys().all(|status| [200, 429, 503].contains(status)), "{counts:?}");
    assert!(counts[&200] >= 30, "{counts:?}");

    visitor = site.visitor();
    let trickle = async {
        let mut piece = [0; 1_024];
        loop {
            for stream in &held {
                // Nothing may have arrived yet, and a refused one has ended.
                let _ = stream.try_read(&mut piece);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = trickle => {}
        () = visitor.comes_again() => {}
    }
    visitor.leaves("the same answers, read at 10 KiB a second", 4).await;
}
