//! Connections and streams.

use crate::visitor::visit;
use crate::{connect, get, send, start, status};
use futures_util::{StreamExt, stream};
use shared::ServiceName::Frontend;
use std::collections::BTreeMap;
use system_tests::sse::Stream;
use system_tests::{Stack, processes};
use tokio::net::TcpStream;

/// How many connections are made at the same time.
const AT_ONCE: usize = 32;
/// What the manifests grant to the frontend, in KiB.
const FRONTEND_KIB: u64 = 256 * 1024;

/// Sends one request on each of so many connections, and keeps them: with the status of each.
async fn hold(stack: &Stack, clients: Vec<u8>, path: &str) -> Vec<(u16, Option<TcpStream>)> {
    let authority = stack.front_door().authority();
    let one = async |client: u8| {
        let Some(mut stream) = connect(client, authority).await else { return (0, None) };
        send(&mut stream, &get(authority, path)).await;
        (status(&mut stream).await, Some(stream))
    };
    stream::iter(clients).map(one).buffer_unordered(AT_ONCE).collect().await
}

fn count(held: &[(u16, Option<TcpStream>)]) -> BTreeMap<u16, usize> {
    held.iter().fold(BTreeMap::new(), |mut counts, (status, _)| {
        *counts.entry(*status).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn idle_connections_do_not_close_the_site() {
    const EACH: usize = 900;
    let stack = start().await;
    let post = stack.public_blog().post("Visited").await;
    stack.public_blog().until_known(&post).await;
    let before = processes::open_files(stack.pid(Frontend).expect("it runs"));
    let clients = (0..5 * EACH).map(|n| 2 + (n / EACH) as u8).collect();
    let held = hold(&stack, clients, "/posts?limit=1").await;
    visit(&stack, &post, "4,500 connections are idle").await;
    assert_eq!(count(&held), BTreeMap::from([(200, 5 * EACH)]), "each was served, and then idle");
    let pid = stack.pid(Frontend).expect("it runs");
    let (memory, open) = (processes::memory_kib(pid), processes::open_files(pid) - before);
    println!("the frontend: {memory} KiB, {open} more open files");
    assert!(memory < FRONTEND_KIB, "{memory} KiB");
}

#[tokio::test]
async fn a_client_that_takes_all_streams_gets_a_share_and_others_get_one() {
    let stack = start().await;
    let post = stack.public_blog().post("Visited").await;
    stack.public_blog().until_known(&post).await;
    let held = hold(&stack, vec![2; 2_200], "/live").await;
    let mut visitor = Stream::open(stack.front_door().get("/live")).await;
    assert_eq!(visitor.next().await.expect("a greeting").event, "hello");
    visit(&stack, &post, "one client wants every stream").await;
    let counts = count(&held);
    assert_eq!(counts.get(&200), Some(&512), "{counts:?}");
    assert_eq!(counts[&200] + counts[&429], 2_200, "the others have a reason and can try again: {counts:?}");
    let refused = stack.output();
    assert!(refused.contains("share_exceeded"), "a security event names it");
    visitor.until("a comment of the visitor", |event| event.data.contains("visit 19")).await;
}
