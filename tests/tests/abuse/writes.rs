//! Writers who never stop.

use crate::start;
use crate::visitor::visit;
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
/// How many posts they write to.
const POSTS: usize = 100;

#[tokio::test]
async fn writers_who_flood_are_slowed_down_and_others_are_not() {
    let stack = start().await;
    let blog = stack.public_blog();
    // Several threads, so that each stays short.
    let mut flooded = Vec::new();
    for n in 0..POSTS {
        flooded.push(blog.post(&format!("Flooded {n}")).await);
    }
    let visited = blog.post("Visited").await;
    blog.until_known(&visited).await;
    let client = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).no_proxy();
    let door = Server::new(&client.build().expect("a client"), &stack.front_door().url);
    let (over, slowed, begun) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Instant::now());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        // Half of them are one author, whose limit is lower: a slow machine does not reach the other one.
        let cookie = if writer % 2 == 0 { format!("author={}", "7".repeat(32)) } else { String::new() };
        let (door, over, slowed, flooded) = (door.clone(), over.clone(), slowed.clone(), flooded.clone());
        writers.spawn(async move {
            let mut counts = BTreeMap::<u16, u32>::new();
            for post in flooded.iter().cycle() {
                // Until the visitor has been served, and the flood has been slowed down.
                if over.load(Ordering::Relaxed) && slowed.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("/posts/{post}/comments");
                let request = door.post(&path).header("prefer", "return=minimal");
                let request = request.header("cookie", &cookie);
                let answer = request.json(&json!({ "content": "Flooded." })).send().await;
                if answer.status != 201 {
                    answer.clone().expect_problem(429);
                }
                slowed.fetch_or(answer.status == 429, Ordering::Relaxed);
                *counts.entry(answer.status).or_default() += 1;
            }
            counts
        });
    }
    visit(&stack, &visited, "eight connections write").await;
    over.store(true, Ordering::Relaxed);
    let mut counts = BTreeMap::<u16, u32>::new();
    for (status, count) in writers.join_all().await.into_iter().flatten() {
        *counts.entry(status).or_default() += count;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("in {seconds:.1} s: {counts:?}");
    assert!(f64::from(counts[&201]) <= 600.0 + 60.0 * seconds, "{counts:?} in {seconds} s");
    assert!(counts.contains_key(&429) || seconds < 5.0, "{counts:?}");
    let writes = stack.output();
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
