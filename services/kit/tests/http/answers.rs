//! Responses to good and bad requests.

use crate::support::{Raw, Running};
use crate::{options, router, sse, start, ticks};
use axum::Router;
use axum::routing::get;
use kit::http::server::{Limits, serve};
use kit::http::{Chunk, Options, json_stream, with_middleware};
use kit::runtime::trace::TraceContext;
use kit::store::ReadError;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use shared::Problem;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Sends it and reads the problem in the response; checks the headers that every problem has.
pub async fn problem(request: reqwest::RequestBuilder) -> (StatusCode, Problem, reqwest::header::HeaderMap) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], "no-store");
    assert!(headers.contains_key("x-request-id"));
    let problem: Problem = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(problem.status, status.as_u16());
    (status, problem, headers)
}

pub async fn read(response: reqwest::Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let server = start(router(), Limits::default()).await;
    let client = Client::new();
    let json = |path: &str, body: &str| {
        client.post(server.url(path)).header("content-type", "application/json").body(body.to_owned())
    };

    let (status, problem_404, _) = problem(client.get(server.url("/nowhere"))).await;
    assert_eq!((status.as_u16(), problem_404.kind.as_str()), (404, "/problems/not-found"));

    let (status, _, headers) = problem(client.request(Method::DELETE, server.url("/echo"))).await;
    assert_eq!((status.as_u16(), headers["allow"].to_str().unwrap()), (405, "POST"));

    let (status, problem_415, _) = problem(client.post(server.url("/echo")).body("{}")).await;
    assert_eq!((status.as_u16(), problem_415.kind.as_str()), (415, "/problems/not-json"));

    let (status, problem_400, _) = problem(json("/echo", "{\"title\":")).await;
    assert_eq!((status.as_u16(), problem_400.kind.as_str()), (400, "/problems/malformed-json"));

    let (status, _, _) = problem(json("/tiny", "\"ten bytes\"")).await;
    assert_eq!(status, 413);
    let fits = json("/tiny", "\"8 bytes\"").send().await.unwrap();
    assert_eq!(fits.status(), 200);

    let (status, path, _) = problem(client.get(server.url("/number/seven"))).await;
    assert_eq!((status.as_u16(), path.kind.as_str()), (400, "/problems/bad-request"));
    let (status, query, _) = problem(client.get(server.url("/page?limit=x"))).await;
    assert_eq!(status, 400);
    assert!(query.detail.unwrap().contains("limit"), "the sender learns what is wrong");

    let response = client.get(server.url("/conflict")).send().await.unwrap();
    assert_eq!(response.status(), 409);
    assert_eq!(read(response).await["cursor"], "00000000000000000007");
    server.stop().await;
}

#[tokio::test]
async fn a_large_body_is_refused_in_words_although_the_client_is_still_sending() {
    let server = start(router(), Limits::default()).await;
    let body = vec![b'x'; 1_000_000];
    for path in ["/echo", "/nowhere"] {
        let mut client = Raw::connect(server.address).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head.as_bytes()).await;
        client.send(&body).await;
        let answer = client.read_to_end().await;
        let expected = if path == "/echo" { "HTTP/1.1 413 " } else { "HTTP/1.1 404 " };
        assert!(answer.starts_with(expected), "{answer}");
        assert!(answer.contains("\"type\":\"/problems/"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_with_broken_framing_is_a_bad_request() {
    let server = start(router(), Limits::default()).await;
    for chunks in ["ZZ\r\n{}\r\n0\r\n\r\n", "2\r\n{}XX0\r\n\r\n"] {
        let mut client = Raw::connect(server.address).await;
        let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes()).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("\"type\":\"/problems/bad-request\""), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_body_limit_counts_bytes_and_is_64_kib_unless_the_route_says_otherwise() {
    let server = start(router(), Limits::default()).await;
    let send = async |size: usize| {
        let body = format!("\"{}\"", "x".repeat(size - 2));
        let request = Client::new().post(server.url("/echo")).header("content-type", "application/json");
        request.body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(64 * 1024).await, 200);
    assert_eq!(send(64 * 1024 + 1).await, 413);
    server.stop().await;
}

#[tokio::test]
async fn a_panicking_handler_answers_500_and_the_next_request_works() {
    let server = start(router(), Limits::default()).await;
    let client = Client::new();
    for _ in 0..3 {
        let (status, problem, _) = problem(client.get(server.url("/panic"))).await;
        assert_eq!((status.as_u16(), problem.detail), (500, None), "the reason is not for clients");
    }
    let next = client.get(server.url("/number/7")).send().await.unwrap();
    assert_eq!(next.text().await.unwrap(), "7");
    server.stop().await;
}

#[tokio::test]
async fn a_handler_that_takes_too_long_answers_503_while_a_stream_may_go_on() {
    let slow = Router::new()
        .route("/slow", get(async || std::future::pending::<()>().await))
        .route("/stream", get(async || sse(ticks(Duration::from_millis(30)))));
    let router = with_middleware(slow, Options { request_timeout: Duration::from_millis(50), ..options() });
    let limits = Limits::default();
    let server = Running::start(move |listener, lifecycle| async move {
        serve(listener, router, &lifecycle, limits).await;
    })
    .await;

    let (status, _, headers) = problem(Client::new().get(server.url("/slow"))).await;
    assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (503, "1"));

    let mut stream = Client::new().get(server.url("/stream")).send().await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(200) {
        assert!(stream.chunk().await.unwrap().is_some());
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn ids_and_traces_go_through() {
    let server = start(router(), Limits::default()).await;
    let client = Client::new();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request =
        client.get(server.url("/trace")).header("traceparent", traceparent).header("x-request-id", "mine-7");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-7");
    let text = response.text().await.unwrap();
    assert!(text.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{text}");
    assert!(text.ends_with(" mine-7") && !text.contains("00f067aa0ba902b7"), "a step of its own: {text}");

    let response = client.get(server.url("/trace")).header("traceparent", "00-junk").send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let text = response.text().await.unwrap();
    let (trace, seen) = text.split_once(' ').unwrap();
    assert!(trace.parse::<TraceContext>().is_ok() && seen == id, "{text}");

    let who = client.get(server.url("/who")).send().await.unwrap().text().await.unwrap();
    assert_eq!(who, "127.0.0.1");
    let cached = client.get(server.url("/cached")).send().await.unwrap();
    assert_eq!(cached.headers()["cache-control"], "max-age=60", "the handler knows better");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_whose_rest_cannot_be_read_is_cut_off() {
    let broken = Arc::new(Notify::new());
    let read = {
        let broken = Arc::clone(&broken);
        move |position: Option<i32>| {
            let broken = Arc::clone(&broken);
            async move {
                if position.is_some() {
                    broken.notified().await;
                    return Err(ReadError::Stopped);
                }
                let (mut chunk, mut numbers) = (Chunk::array(), 0..);
                while let Some(n) = numbers.next()
                    && chunk.element(n, &n)?.is_continue()
                {}
                Ok(chunk)
            }
        }
    };
    let router = Router::new().route("/numbers", get(move || json_stream(read)));
    let server = start(router, Limits::default()).await;
    let response = Client::new().get(server.url("/numbers")).send().await.unwrap();
    assert_eq!((response.status(), response.headers().get("content-length")), (StatusCode::OK, None));
    broken.notify_one();
    response.bytes().await.unwrap_err();

    // An answer to HTTP/1.0 ends where its connection ends: what was sent must not look like a whole array.
    let mut old = Raw::connect(server.address).await;
    old.send(b"GET /numbers HTTP/1.0\r\n\r\n").await;
    let mut answer = old.read_until("[0,1,").await;
    broken.notify_one();
    answer.push_str(&old.read_to_end().await);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<Value>(body).unwrap_err();
    server.stop().await;
}
