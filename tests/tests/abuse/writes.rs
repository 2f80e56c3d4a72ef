//! Writers who never stop.

use crate::visitor::Site;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use system_tests::http::Server;
use tokio::task::JoinSet;

/// How many connections flood.
const WRITERS: usize = 8;
/// How many writes of each are more than its limit, and more than that of all.
const ENOUGH: u32 = 1_000;
/// How many posts they write to.
const POSTS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn writers_who_flood_are_slowed_down_and_others_are_not() {
    let site = Site::start().await;
    let blog = site.public_blog();
    // Several threads, so that each stays short.
    let mut flooded = Vec::new();
    for n in 0..POSTS {
        flooded.push(blog.post(&format!("Flooded {n}")).await);
    }
    let visitor = site.visitor();
    let client = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).no_proxy();
    let door = Server::new(&client.build().expect("a client"), &site.front_door().url);
    // As large as a comment may be.
    let text = Arc::new("\u{1F30D}".repeat(4_000));
    let (over, slowed, begun) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Instant::now());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        // Half of them are one author, whose limit is lower: a slow machine does not reach the other one.
        let cookie = if writer % 2 == 0 { format!("author={}", "7".repeat(32)) } else { String::new() };
        let (door, over, slowed, flooded) = (door.clone(), over.clone(), slowed.clone(), flooded.clone());
        let text = text.clone();
        writers.spawn(async move {
            let mut counts = BTreeMap::<u16, u32>::new();
            for post in flooded.iter().cycle() {
                // Until the visitor has been served, and the flood has been slowed down or should have been.
                let should_have = counts.values().sum::<u32>() > ENOUGH;
                if over.load(Ordering::Relaxed) && (slowed.load(Ordering::Relaxed) || should_have) {
                    break;
                }
                let path = format!("/posts/{post}/comments");
                let request = door.post(&path).header("prefer", "return=minimal");
                let request = request.header("cookie", &cookie);
                let answer = request.json(&json!({ "content": *text })).send().await;
                if answer.status != 201 {
                    answer.clone().expect_problem(429);
                }
                slowed.fetch_or(answer.status == 429, Ordering::Relaxed);
                *counts.entry(answer.status).or_default() += 1;
            }
            counts
        });
    }
    visitor.leaves("8 connections that write large comments", 1).await;
    over.store(true, Ordering::Relaxed);
    let mut counts = BTreeMap::<u16, u32>::new();
    for (status, count) in writers.join_all().await.into_iter().flatten() {
        *counts.entry(status).or_default() += count;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("in {seconds:.1} s: {counts:?}");
    assert!(f64::from(counts[&201]) <= 600.0 + 60.0 * seconds, "{counts:?} in {seconds} s");
    assert!(counts.contains_key(&429) || seconds < 5.0, "{counts:?}");
    let writes = site.output();
    assert!(
        writes.contains("write_rate_exceeded") || !counts.contains_key(&429),
        "a security event names it"
    );
}

#[tokio::test]
async fn the_operator_may_turn_the_limits_off() {
    let stack = system_tests::Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Written fast").await;
    let cookie = format!("author={}", "7".repeat(32));
    for n in 0..70 {
        let request = blog.comments.post(&format!("/posts/{post}/comments")).header("cookie", &cookie);
        request.json(&json!({ "content": format!("{n}") })).send().await.expect(201);
    }
}
