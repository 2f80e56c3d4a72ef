//! Connections and streams.

use crate::visitor::Site;
use crate::{connect, get, send, status};
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;
use system_tests::Stack;
use system_tests::sse::Stream;
use tokio::net::TcpStream;

/// How many connections are made at the same time.
const AT_ONCE: usize = 32;
/// How many connections each client makes, where several share the attack.
const EACH: usize = 900;

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

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_close_the_site() {
    let site = Site::start().await;
    let visitor = site.visitor();
    let clients = (0..5 * EACH).map(|n| 2 + (n / EACH) as u8).collect();
    let held = hold(&site, clients, "/posts?limit=1").await;
    visitor.leaves("4,500 idle keep-alive connections", 5).await;
    assert_eq!(count(&held), BTreeMap::from([(200, 5 * EACH)]), "each was served, and then idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_never_end_leave_connections_to_others() {
    /// How many connections the clients make again in each round, in place of those that were closed.
    const RENEWED: usize = 50;
    let site = Site::start().await;
    let mut visitor = site.visitor();
    let authority = site.front_door().authority();
    let begin = async |n| {
        let client = 2 + (n / EACH) as u8;
        let mut stream = connect(client, authority).await?;
        send(&mut stream, b"GET / HTTP/1.1\r\n").await;
        Some((n, stream))
    };
    let held: Vec<_> = stream::iter(0..5 * EACH).map(begin).buffer_unordered(AT_ONCE).collect().await;
    let mut held: Vec<_> = held.into_iter().flatten().collect();
    let mut most = 0;
    let dribble = async {
        loop {
            let mut open = 0;
            let mut renewed = 0;
            for held in &mut held {
                let (n, stream) = held;
                if is_open(stream) {
                    open += 1;
                    // It may be closed at this moment.
                    let _ = stream.try_write(b"x");
                } else if renewed < RENEWED {
                    renewed += 1;
                    if let Some(new) = begin(*n).await {
                        *held = new;
                    }
                }
            }
            most = open.max(most);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = dribble => {}
        () = visitor.comes_again() => {}
    }
    visitor.leaves("4,500 requests whose heads never end", 5).await;
    // Those that the system holds before they are accepted are open, too.
    assert!(most > 2_048 && most < 5 * EACH, "4,096 connections are served at most: {most}");
}

/// Whether the server has not closed it yet, nor answered.
fn is_open(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0; 64]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_all_streams_gets_a_share_and_others_get_one() {
    let site = Site::start().await;
    let visitor = site.visitor();
    let held = hold(&site, vec![2; 2_200], "/live").await;
    let mut live = Stream::open(site.front_door().get("/live")).await;
    assert_eq!(live.next().await.expect("a greeting").event, "hello");
    live.until("a comment of the visitor", |event| event.data.contains("\"visit ")).await;
    visitor.leaves("2,200 streams of `/live`", 1).await;
    let counts = count(&held);
    assert_eq!(counts.get(&200), Some(&512), "{counts:?}");
    assert_eq!(counts[&200] + counts[&429], 2_200, "the others have a reason and can try again: {counts:?}");
    assert!(site.output().contains("share_exceeded"), "a security event names it");
}
