//! The web half over real TCP: what clients, good and bad, see of any service.

mod support;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query};
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt, stream};
use kit::lifecycle::Lifecycle;
use kit::server::{Limits, serve};
use kit::service::{ServeError, Service};
use kit::trace::TraceContext;
use kit::web::{Answer, Failure, JsonBody, Options, RequestId, finish};
use kit::{deps::Deps, probes::Readiness};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shared::{Problem, ProblemKind, ServiceName};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{Raw, Running, eventually};
use tokio::sync::mpsc;

fn options() -> Options {
    Options::new(Deps::system().unwrap().ids)
}

fn router() -> Router {
    Router::new()
        .route("/echo", post(async |JsonBody(body): JsonBody| axum::Json(body)))
        .route("/tiny", post(async |_: JsonBody| "ok").layer(DefaultBodyLimit::max(10)))
        .route("/number/{n}", get(async |Path(n): Path<u32>| n.to_string()))
        .route(
            "/page",
            get(async |Query(page): Query<std::collections::HashMap<String, u32>>| axum::Json(page)),
        )
        .route("/panic", get(panics))
        .route("/conflict", get(conflict))
        .route("/who", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()))
        .route("/trace", get(async |trace: TraceContext, id: RequestId| format!("{trace} {id}")))
        .route("/cached", get(async || ([("cache-control", "max-age=60")], "ok")))
}

async fn panics() {
    panic!("on purpose");
}

async fn conflict() -> Answer<()> {
    Err(Failure::new(ProblemKind::Conflict).member("cursor", json!("00000000000000000007")))
}

/// Serves until the lifecycle stops, with these limits.
async fn start(router: Router, limits: Limits) -> Running<()> {
    let router = finish(router, options());
    Running::start(
        move |listener, lifecycle| async move { serve(listener, router, &lifecycle, limits).await },
    )
    .await
}

async fn start_service(router: Router, lifecycle: Lifecycle) -> Running<Result<(), ServeError>> {
    let deps = Deps::system().unwrap();
    let service = Service {
        name: ServiceName::Query,
        router,
        admin: None,
        readiness: Readiness::new(),
        lifecycle,
        deps,
    };
    let lifecycle = service.lifecycle.clone();
    Running::with(lifecycle, |listener, _| service.serve(listener, None)).await
}

/// Sends it and reads the problem that comes back, with all that every problem has.
async fn problem(request: reqwest::RequestBuilder) -> (StatusCode, Problem, reqwest::header::HeaderMap) {
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

async fn read(response: reqwest::Response) -> Value {
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
    let router = finish(slow, Options { request_timeout: Duration::from_millis(50), ..options() });
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

#[tokio::test]
async fn beyond_the_cap_clients_wait_for_a_place() {
    let server = start(router(), Limits { connections: 1, ..Limits::default() }).await;
    let mut first = Raw::connect(server.address).await;
    first.send(b"GET /number/1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    first.read_until("\r\n\r\n1").await;

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
async fn the_stop_ends_open_streams_and_idle_connections_at_once() {
    let lifecycle = Lifecycle::new();
    let stopping = lifecycle.stopping();
    let events = async move || sse(ticks(Duration::from_secs(3600)).take_until(stopping.cancelled_owned()));
    let server = start_service(Router::new().route("/live", get(events)), lifecycle).await;

    let client = Client::new();
    let mut live = client.get(server.url("/live")).send().await.unwrap();
    assert_eq!(live.chunk().await.unwrap().unwrap(), "data: tick\n\n");
    let _silent = Raw::connect(server.address).await;
    let mut idle = Raw::connect(server.address).await;
    idle.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    idle.read_until("ok").await;

    let begun = Instant::now();
    server.lifecycle.stop();
    assert_eq!(eventually(live.chunk()).await.unwrap(), None, "the stream ends, it does not break");
    assert_eq!(server.stop().await, Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_stop_lets_a_running_request_finish_and_takes_no_new_one() {
    let (entered, mut inside) = mpsc::channel(1);
    let (release, released) = tokio::sync::watch::channel(false);
    let slow = async move || {
        entered.send(()).await.unwrap();
        released.clone().wait_for(|go| *go).await.unwrap();
        "finished"
    };
    let server = start(Router::new().route("/slow", get(slow)), Limits::default()).await;
    let running = tokio::spawn(Client::new().get(server.url("/slow")).send());
    eventually(inside.recv()).await.unwrap();

    server.lifecycle.stop();
    let address = server.address;
    let refused = async || {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    eventually(refused()).await;
    release.send(true).unwrap();
    assert_eq!(running.await.unwrap().unwrap().text().await.unwrap(), "finished");
    server.stop().await;
}

#[tokio::test]
async fn the_stop_does_not_wait_for_ever() {
    let (entered, mut inside) = mpsc::channel(1);
    let stuck = async move || {
        entered.send(()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let server = start(Router::new().route("/stuck", get(stuck)), limits).await;
    let running = tokio::spawn(Client::new().get(server.url("/stuck")).send());
    eventually(inside.recv()).await.unwrap();
    server.stop().await;
    assert!(running.await.unwrap().is_err());
}

#[tokio::test]
async fn a_crashed_background_task_makes_livez_503_although_the_port_is_open() {
    let lifecycle = Lifecycle::new();
    let server = start_service(Router::new(), lifecycle.clone()).await;
    let client = Client::new();
    let alive = client.get(server.url("/livez")).send().await.unwrap();
    assert_eq!((alive.status().as_u16(), alive.text().await.unwrap().as_str()), (200, "ok"));

    lifecycle.spawn("relay", async { panic!("on purpose") });
    eventually(lifecycle.crash_seen()).await;
    let (status, problem, _) = problem(client.get(server.url("/livez"))).await;
    assert_eq!(status, 503);
    assert_eq!(problem.detail.unwrap(), "the background task relay has crashed");
    assert_eq!(server.stop().await, Err(ServeError::Crashed("relay")));
}

#[tokio::test]
async fn readyz_names_what_is_not_ready() {
    let deps = Deps::system().unwrap();
    let (readiness, lifecycle) = (Readiness::new(), Lifecycle::new());
    let flag = readiness.register("subscription");
    let service = Service {
        name: ServiceName::Query,
        router: Router::new(),
        admin: None,
        readiness,
        lifecycle: lifecycle.clone(),
        deps,
    };
    let server = Running::with(lifecycle, |listener, _| service.serve(listener, None)).await;
    let client = Client::new();
    let unready = client.get(server.url("/readyz")).send().await.unwrap();
    assert_eq!(unready.status(), 503);
    let body = read(unready).await;
    assert_eq!(body["unready"], json!([{ "name": "subscription", "why": "starting" }]));
    flag.set(true, "");
    assert_eq!(client.get(server.url("/readyz")).send().await.unwrap().status(), 200);
    assert_eq!(server.stop().await, Ok(()));
}

#[tokio::test]
async fn probes_and_metrics_are_not_public_where_there_is_an_admin_listener() {
    let deps = Deps::system().unwrap();
    let lifecycle = Lifecycle::new();
    let admin_listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = format!("http://{}", admin_listener.local_addr().unwrap());
    let service = Service {
        name: ServiceName::Frontend,
        router: router(),
        admin: None,
        readiness: Readiness::new(),
        lifecycle: lifecycle.clone(),
        deps,
    };
    let server = Running::with(lifecycle, |listener, _| service.serve(listener, Some(admin_listener))).await;
    let client = Client::new();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(client.get(server.url(path)).send().await.unwrap().status(), 404, "{path}");
        assert_eq!(client.get(format!("{admin}{path}")).send().await.unwrap().status(), 200, "{path}");
    }
    assert_eq!(client.get(server.url("/number/1")).send().await.unwrap().status(), 200);
    assert_eq!(client.get(format!("{admin}/number/1")).send().await.unwrap().status(), 404);
    assert_eq!(server.stop().await, Ok(()));
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_not_by_path() {
    let server = start_service(router(), Lifecycle::new()).await;
    let client = Client::new();
    for path in ["/number/1", "/number/2", "/random-4711"] {
        client.get(server.url(path)).send().await.unwrap();
    }
    let invented = Method::from_bytes(b"INVENTED").unwrap();
    client.request(invented, server.url("/number/3")).send().await.unwrap();
    let response = client.get(server.url("/metrics")).send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = response.text().await.unwrap();
    assert!(text.contains(r#"http_requests_total{method="GET",route="/number/{n}",status="200"}"#), "{text}");
    assert!(text.contains(r#"http_requests_total{method="GET",route="none",status="404"}"#), "{text}");
    assert!(
        text.contains(r#"http_requests_total{method="other",route="/number/{n}",status="405"}"#),
        "{text}"
    );
    assert!(text.contains("http_request_seconds_bucket{"), "{text}");
    assert!(text.contains("build_info{") && text.contains("process_start_time_seconds"), "{text}");
    assert!(!text.contains("4711") && !text.contains("INVENTED"), "{text}");
    assert_eq!(server.stop().await, Ok(()));
}

/// A stream with its first item at once.
fn ticks(every: Duration) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(tokio::time::interval(every), async |mut interval| {
        interval.tick().await;
        Some(((), interval))
    })
}

fn sse(ticks: impl Stream<Item = ()> + Send + 'static) -> impl IntoResponse {
    Sse::new(ticks.map(|()| Ok::<_, Infallible>(Event::default().data("tick"))))
}
