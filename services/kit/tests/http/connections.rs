//! Connections at their limits: time, bytes, number.

use crate::support::{Raw, Running, eventually};
use crate::{options, router, start};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::stream;
use kit::http::server::{Limits, serve};
use kit::http::{AnswerBudget, BodyBudget, Options, with_middleware};
use reqwest::Client;
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

#[tokio::test]
async fn a_client_slow_with_its_head_is_cut_off_while_others_are_served() {
    let head = Duration::from_secs(2);
    let server = start(router(), Limits { head, ..Limits::default() }).await;
    let begun = Instant::now();
    let mut silent = Raw::connect(server.address).await;
    let mut slow = Raw::connect(server.address).await;
    slow.send(b"GET /number/1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    slow.read_until("\r\n\r\n1").await;
    slow.send(b"GET /number/1 HTTP/1.1\r\nHost: x\r\nX-Slow:").await;

    let other = Client::new().get(server.url("/number/2")).send().await.unwrap();
    assert_eq!(other.status(), 200);
    assert!(begun.elapsed() < head, "the other client did not wait for the slow one");

    assert_eq!(slow.read_to_end().await, "");
    assert_eq!(silent.read_to_end().await, "");
    assert!(begun.elapsed() >= head);
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_kept_longer_than_a_slow_head_and_not_for_ever() {
    let (head, idle) = (Duration::from_millis(50), Duration::from_secs(2));
    let server = start(router(), Limits { head, idle, ..Limits::default() }).await;
    let mut client = Raw::connect(server.address).await;
    for _ in 0..2 {
        client.send(b"GET /number/1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.read_until("\r\n\r\n1").await;
        assert!(client.is_silent_for(head * 4).await);
    }
    assert_eq!(client.read_to_end().await, "");
    server.stop().await;
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = start(router(), Limits::default()).await;
    let large = format!("GET / HTTP/1.1\r\nX-Large: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X-Many: 1\r\n".repeat(101));
    for head in [large, many] {
        let mut client = Raw::connect(server.address).await;
        client.send(head.as_bytes()).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    server.stop().await;
}

/// A route whose answer begins at once and ends never.
fn endless() -> axum::response::Response {
    Body::from_stream(stream::pending::<Result<Vec<u8>, Infallible>>()).into_response()
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_another_one_and_loses_no_request() {
    let server = start(router(), Limits { connections: 2, ..Limits::default() }).await;
    let mut idle = Vec::new();
    for n in 0..10 {
        let mut client = Raw::connect(server.address).await;
        client.send(format!("GET /number/{n} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        client.read_until(&format!("\r\n\r\n{n}")).await;
        idle.push(client);
    }
    for client in &mut idle[..8] {
        assert_eq!(client.read_to_end().await, "", "closed, the oldest first");
    }
    for client in &mut idle[8..] {
        client.send(b"GET /number/7 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.read_until("\r\n\r\n7").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_with_too_many_connections_in_use_is_refused_and_another_is_served() {
    let routes = router().route("/endless", get(async || endless()));
    let server = start(routes, Limits { connections_of_client: 2, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect(server.address).await;
        client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.read_until("\r\n\r\n").await;
        held.push(client);
    }
    let refused = Raw::connect(server.address).await.read_to_end().await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: "), "{refused}");
    let other = Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).build().unwrap();
    assert_eq!(other.get(server.url("/number/1")).send().await.unwrap().status(), 200);
    held.pop();
    let served = async || {
        while Client::new().get(server.url("/number/1")).send().await.unwrap().status() != 200 {}
    };
    eventually(served()).await;
    // Else the stop would give the other answer its ten seconds to end.
    held.clear();
    server.stop().await;
}

#[tokio::test]
async fn beyond_the_cap_clients_wait_for_a_place() {
    let routes = router().route("/endless", get(async || endless()));
    let server = start(routes, Limits { connections: 1, ..Limits::default() }).await;
    let mut first = Raw::connect(server.address).await;
    first.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    first.read_until("\r\n\r\n").await;

    let mut second = Raw::connect(server.address).await;
    second.send(b"GET /number/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(second.is_silent_for(Duration::from_millis(100)).await);
    drop(first);
    assert!(second.read_to_end().await.ends_with('2'));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let (dropped, mut gone) = mpsc::channel::<()>(1);
    let endless = move || {
        let guard = dropped.clone();
        let body = stream::repeat_with(move || {
            let _held = &guard;
            Ok::<_, Infallible>(vec![b'x'; 64 * 1024])
        });
        async move { axum::body::Body::from_stream(body) }
    };
    let limits = Limits { stall: Duration::from_millis(200), ..Limits::default() };
    let server = start(Router::new().route("/endless", get(endless)), limits).await;
    let mut client = Raw::connect(server.address).await;
    client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.read_until("\r\n\r\n").await;
    // The router goes with the server, so that only the connection still holds a sender.
    server.lifecycle.stop();
    assert!(eventually(gone.recv()).await.is_none());
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_do_not_end_take_bounded_room_and_give_it_back() {
    const BUDGET: usize = 1_000;
    let router =
        with_middleware(router(), Options { body_budget: BodyBudget::new(BUDGET, BUDGET), ..options() });
    let server = Running::start(move |listener, lifecycle| async move {
        serve(listener, router, &lifecycle, Limits::default()).await;
    })
    .await;
    let echo = async |size: usize| {
        let request = Client::new().post(server.url("/echo")).header("content-type", "application/json");
        let request = request.body(format!("\"{}\"", "x".repeat(size - 2)));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    let until = async |size, status| while echo(size).await.0 != status {};
    assert_eq!(echo(BUDGET).await, (200, false));
    assert_eq!(echo(BUDGET + 1).await, (503, true), "what was refused half-way takes nothing either");
    assert_eq!(echo(BUDGET).await, (200, false));

    let mut slow = Raw::connect(server.address).await;
    slow.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n").await;
    slow.send(format!("Content-Length: 700\r\n\r\n\"{}", "x".repeat(599)).as_bytes()).await;
    eventually(until(600, 503)).await;
    assert_eq!(echo(400).await, (200, false), "what fits is taken");
    drop(slow);
    eventually(until(600, 200)).await;
    server.stop().await;
}

/// A server whose clients share these budgets.
async fn with_budgets(router: Router, bodies: BodyBudget, answers: AnswerBudget) -> Running<()> {
    let options = Options { body_budget: bodies, answer_budget: answers, ..options() };
    let router = with_middleware(router, options);
    Running::start(move |listener, lifecycle| async move {
        serve(listener, router, &lifecycle, Limits::default()).await;
    })
    .await
}

fn from(last: u8) -> Client {
    Client::builder().local_address(IpAddr::from([127, 0, 0, last])).build().unwrap()
}

#[tokio::test]
async fn one_client_cannot_take_the_memory_for_the_bodies_of_all() {
    let answers = AnswerBudget::new(1, 1);
    let server = with_budgets(router(), BodyBudget::new(1_000, 600), answers).await;
    let mut slow = Raw::connect(server.address).await;
    slow.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n").await;
    slow.send(format!("Content-Length: 700\r\n\r\n\"{}", "x".repeat(499)).as_bytes()).await;
    let status = async |last| {
        let request = from(last).post(server.url("/echo")).header("content-type", "application/json");
        let answer = request.body(format!("\"{}\"", "x".repeat(298))).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    eventually(async { while status(1).await != (429, true) {} }).await;
    assert_eq!(status(2).await, (200, false));
    drop(slow);
    eventually(async { while status(1).await != (200, false) {} }).await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_arrives_too_slowly_is_given_up() {
    let grace = Duration::from_millis(300);
    let bodies = BodyBudget::new(1_000_000, 1_000_000).with_grace(grace);
    let server = with_budgets(router(), bodies, AnswerBudget::new(1, 1)).await;
    let head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n\"";
    let started = Instant::now();
    let mut client = Raw::connect(server.address).await;
    client.send(head).await;
    // A sip at a time, long before the time for the request is over.
    let answer = async {
        while client.is_silent_for(Duration::from_millis(20)).await {
            client.send(b"x").await;
        }
        client.read_to_end().await
    };
    let answer = eventually(answer).await;
    assert!(answer.contains("408 Request Timeout"), "{answer}");
    assert!(started.elapsed() >= grace);
    server.stop().await;
}

#[tokio::test]
async fn answers_that_nobody_reads_take_bounded_memory_and_give_it_back() {
    const ANSWER: usize = 16 * 1024 * 1024;
    let large = get(async || vec![b'x'; ANSWER]).post(async || vec![b'x'; ANSWER]);
    let routes = Router::new().route("/large", large).route("/small", get(async || "small"));
    let bodies = BodyBudget::new(1, 1);
    let server = with_budgets(routes, bodies, AnswerBudget::new(2 * ANSWER, ANSWER)).await;
    let head = async |client: &mut Raw| {
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.read_until("\r\n\r\n").await
    };
    let mut unread = Raw::connect(server.address).await;
    assert!(head(&mut unread).await.starts_with("HTTP/1.1 200 "));
    let refused = head(&mut Raw::connect(server.address).await).await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: "), "{refused}");

    let second = from(2).get(server.url("/large")).send().await.unwrap();
    assert_eq!(second.status(), 200);
    let third = from(3).get(server.url("/large")).send().await.unwrap();
    assert_eq!((third.status().as_u16(), third.headers().contains_key("retry-after")), (503, true));
    assert_eq!(from(3).get(server.url("/small")).send().await.unwrap().status(), 200);
    let write = from(3).post(server.url("/large")).send().await.unwrap();
    assert_eq!(write.status(), 200, "what has been done is answered");
    drop(write);

    assert_eq!(second.bytes().await.unwrap().len(), ANSWER);
    drop(unread);
    eventually(async { while from(1).get(server.url("/large")).send().await.unwrap().status() != 200 {} })
        .await;
    server.stop().await;
}
