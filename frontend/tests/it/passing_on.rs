//! What the front door changes in a request and an answer, and what it leaves alone.

use crate::world::{Behind, LIMIT, Reply, exchange};
use axum::Router;
use axum::extract::{RawQuery, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use http::{HeaderMap, StatusCode, header};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// A service that answers with the headers it was sent.
fn echo() -> Router {
    Router::new().fallback(any(async |headers: HeaderMap| {
        let lines =
            headers.iter().map(|(name, value)| [name.as_str(), ": ", value.to_str().unwrap(), "\n"].concat());
        lines.collect::<String>()
    }))
}

fn lines<'a>(body: &'a str, name: &str) -> Vec<&'a str> {
    body.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(n, _)| *n == name)
        .map(|(_, v)| v)
        .collect()
}

#[tokio::test]
async fn headers_travel_on_but_for_those_of_the_connection() {
    let frontend = Behind::all(echo()).start().await;
    let sent = [
        ("host", "posts.com"),
        ("origin", "http://posts.com"),
        ("sec-fetch-site", "same-origin"),
        ("cookie", "author=abc; theme=dark"),
        ("authorization", "Bearer token"),
        ("webhook-id", "msg_1"),
        ("webhook-signature", "v1,abc="),
        ("idempotency-key", "k"),
        ("last-event-id", "00000000000000000007"),
        ("accept-encoding", "gzip, br"),
        ("x-forwarded-for", "203.0.113.7"),
        ("connection", "x-secret, keep-alive"),
        ("x-secret", "1"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("proxy-authorization", "Basic x"),
    ];
    let reply = frontend.send("POST", "/posts/1/comments", &sent, "{}").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    for (name, value) in &sent[..10] {
        assert_eq!(lines(&reply.body, name), [*value], "{}", reply.body);
    }
    assert_eq!(lines(&reply.body, "x-forwarded-for"), ["127.0.0.1"], "a client may write anything there");
    for gone in
        ["x-secret", "te", "upgrade", "proxy-authorization", "connection", "keep-alive", "transfer-encoding"]
    {
        assert_eq!(lines(&reply.body, gone), [""; 0], "{}", reply.body);
    }
    assert_eq!(lines(&reply.body, "content-length"), ["2"]);
}

#[tokio::test]
async fn the_client_that_a_trusted_proxy_reports_is_the_one_that_services_see() {
    let frontend = Behind { trusted_proxies: 1, ..Behind::all(echo()) }.start().await;
    let claimed = ("x-forwarded-for", "198.51.100.1, 203.0.113.7");
    let reply = frontend.send("GET", "/posts", &[claimed, ("forwarded", "for=198.51.100.1")], "").await;
    assert_eq!(lines(&reply.body, "x-forwarded-for"), ["203.0.113.7"], "one proxy, one address");
    assert_eq!(lines(&reply.body, "forwarded"), [""; 0]);
}

#[tokio::test]
async fn the_trace_and_the_request_id_travel_on() {
    let frontend = Behind::all(echo()).start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let reply =
        frontend.send("GET", "/posts", &[("traceparent", &parent), ("x-request-id", "abc-1")], "").await;
    let passed = lines(&reply.body, "traceparent");
    assert!(passed.len() == 1 && passed[0].contains(trace) && passed[0] != parent, "{passed:?}");
    assert_eq!(lines(&reply.body, "x-request-id"), ["abc-1"]);
    assert_eq!(reply.header("x-request-id"), "abc-1");
    let fresh = frontend.send("GET", "/posts", &[], "").await;
    assert_eq!(lines(&fresh.body, "x-request-id"), [fresh.header("x-request-id")]);
}

#[tokio::test]
async fn an_answer_is_not_changed() {
    let answer = async || -> Response {
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CONTENT_ENCODING, "gzip"),
            (header::LOCATION, "http://elsewhere.example/posts"),
            (header::SET_COOKIE, "author=abc; HttpOnly"),
            (header::CACHE_CONTROL, "max-age=5"),
            (header::CONNECTION, "x-inner"),
            (header::HeaderName::from_static("x-inner"), "1"),
        ];
        (StatusCode::FOUND, headers, "not gzip at all").into_response()
    };
    let frontend = Behind::all(Router::new().fallback(any(answer))).start().await;
    let reply = frontend.send("GET", "/posts", &[], "").await;
    assert_eq!((reply.status, reply.body.as_str()), (302, "not gzip at all"), "neither followed nor decoded");
    assert_eq!(reply.header("location"), "http://elsewhere.example/posts");
    assert_eq!(reply.header("set-cookie"), "author=abc; HttpOnly");
    assert_eq!(reply.header("cache-control"), "max-age=5");
    assert_eq!(reply.header("content-encoding"), "gzip");
    assert_eq!(reply.header("x-inner"), "");
    assert_eq!(reply.all("access-control-allow-origin"), [""; 0]);
}

#[tokio::test]
async fn a_body_that_its_client_breaks_is_the_clients_fault() {
    let reads = Router::new().route("/posts/{id}/comments", post(async |body: String| body));
    let frontend = Behind::all(reads).start().await;
    for chunks in ["ZZ\r\n{}\r\n0\r\n\r\n", "2\r\n{}XX0\r\n\r\n"] {
        let head =
            "POST /posts/1/comments HTTP/1.1\r\nhost: blog.example\r\ncontent-type: application/json\r\n";
        let request = format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}");
        exchange(frontend.public, &request).await.is_problem(400);
    }
    // Whole bodies still pass.
    let whole = frontend.send("POST", "/posts/1/comments", &[], "{}").await;
    assert_eq!((whole.status, whole.body.as_str()), (200, "{}"));
}

#[tokio::test]
async fn methods_without_a_body_in_the_answer_work() {
    let frontend = Behind::all(echo()).start().await;
    let head = frontend.send("HEAD", "/posts", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_ne!(head.header("content-length"), "");
    let nothing = Behind::all(Router::new().fallback(any(async || StatusCode::NO_CONTENT))).start().await;
    assert_eq!(nothing.send("DELETE", "/posts/1", &[], "").await.status, 204);
}

#[tokio::test]
async fn a_service_that_is_down_is_said_to_be() {
    let frontend = Behind::default().start().await;
    for (method, path) in
        [("POST", "/posts/create"), ("GET", "/posts"), ("GET", "/live"), ("GET", "/moderation/x")]
    {
        let reply = frontend.send(method, path, &[], "").await;
        reply.is_problem(503);
        assert_eq!(reply.header("retry-after"), "1", "{path}");
        assert!(!reply.body.contains("127.0.0.1"), "{}", reply.body);
    }
}

#[tokio::test]
async fn a_body_too_large_for_the_service_gets_the_services_answer() {
    let refuse = async |request: Request| {
        let size = axum::body::to_bytes(request.into_body(), 64 * 1024).await.map(|bytes| bytes.len());
        size.map_or(StatusCode::PAYLOAD_TOO_LARGE.into_response(), |size| size.to_string().into_response())
    };
    let router = Router::new().route("/posts/{id}/comments", post(refuse));
    let frontend = Behind::all(router).start().await;
    let fits = frontend.post_json("/posts/1/comments", &"x".repeat(64 * 1024)).await;
    assert_eq!((fits.status, fits.body.as_str()), (200, "65536"));
    let over = frontend.post_json("/posts/1/comments", &"x".repeat(100 * 1024)).await;
    assert_eq!(over.status, 413, "{over:?}");
}

#[tokio::test]
async fn many_requests_share_the_door() {
    let frontend = Behind::all(echo()).start().await;
    let address = frontend.public;
    let requests = (0..200).map(|n| {
        tokio::spawn(async move {
            let request = format!("GET /posts?n={n} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            crate::world::exchange(address, &request).await.status
        })
    });
    let all: Vec<_> = requests.collect();
    for request in all {
        assert_eq!(tokio::time::timeout(LIMIT, request).await.unwrap().unwrap(), 200);
    }
}

/// A query service that answers with the number of the request, as soon as it is let, in so many bytes.
fn numbered(requests: Arc<AtomicUsize>, answers: Arc<Semaphore>) -> Router {
    let answer = async move |RawQuery(asked): RawQuery| -> Response {
        let number = requests.fetch_add(1, Ordering::SeqCst);
        answers.acquire().await.unwrap().forget();
        match asked.as_deref() {
            Some("large") => format!("{number} ").repeat(200_000).into_response(),
            Some("error") => (StatusCode::NOT_FOUND, axum::Json(number)).into_response(),
            _ => number.to_string().into_response(),
        }
    };
    Router::new().fallback(any(answer))
}

/// Sends one request, and then so many more with these headers while the first is under way. Returns how many query got
/// until the last was answered, and the last answers.
async fn asked_together(
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
) -> (usize, Vec<Reply>) {
    let (requests, answers) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
    let query = numbered(Arc::clone(&requests), Arc::clone(&answers));
    let frontend = Arc::new(Behind { query: Some(query), ..Behind::default() }.start().await);
    let ask = || {
        let frontend = Arc::clone(&frontend);
        tokio::spawn(async move { frontend.send("GET", path, headers, "").await })
    };
    let asked = async |count| {
        test_support::eventually(LIMIT, "query is asked", async || {
            let asked = requests.load(Ordering::SeqCst);
            if asked >= count { Ok(()) } else { Err(asked.to_string()) }
        })
        .await;
    };
    let first = ask();
    asked(1).await;
    let others: Vec<_> = (0..20).map(|_| ask()).collect();
    // Connections are served in their order: with this answer, those requests have arrived.
    frontend.get("/pkg/nothing").await;
    answers.add_permits(1);
    asked(2).await;
    answers.add_permits(20);
    first.await.unwrap();
    let mut replies = Vec::new();
    for other in others {
        replies.push(other.await.unwrap());
    }
    (requests.load(Ordering::SeqCst), replies)
}

#[tokio::test]
async fn readers_who_ask_together_share_an_answer_that_was_asked_for_after_they_came() {
    for path in ["/posts", "/posts?limit=5", "/query/posts/p1"] {
        let (requests, replies) = asked_together(path, &[]).await;
        assert!(requests < 20, "{path}: {requests}");
        for reply in &replies {
            // The first one's answer may be older than these readers.
            assert!(reply.status == 200 && reply.body != "0", "{path}: {reply:?}");
        }
        let ids: BTreeSet<&str> = replies.iter().map(|reply| reply.header("x-request-id")).collect();
        assert_eq!(ids.len(), 20, "each request keeps its id");
    }
}

#[tokio::test]
async fn what_is_not_the_same_for_all_is_asked_for_by_each() {
    for (path, headers) in [
        ("/posts", &[("cookie", "author=me")][..]),
        ("/query/posts/p1", &[("authorization", "Bearer x")]),
        ("/posts", &[("if-none-match", "\"x\"")]),
        ("/query/posts/p1?wait=100", &[]),
        ("/query/posts/p1?comment=c1", &[]),
        ("/query/posts/p1?%77ait=100", &[]),
        ("/posts?large", &[]),
        ("/posts?error", &[]),
    ] {
        let (requests, replies) = asked_together(path, headers).await;
        assert!(requests >= 21, "{path} {headers:?}: {requests}");
        let bodies: BTreeSet<&str> = replies.iter().map(|reply| reply.body.as_str()).collect();
        assert_eq!(bodies.len(), 20, "{path} {headers:?}");
        if path.ends_with("large") {
            assert!(bodies.iter().all(|body| body.len() >= 400_000), "each is whole");
        }
    }
}
