//! Probes and metrics.

use crate::answers::{problem, read};
use crate::support::{Running, eventually};
use crate::{config, router, service, start_service};
use axum::Router;
use kit::app::ServeError;
use kit::app::config::CommonConfig;
use kit::app::service::Service;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use reqwest::{Client, Method};
use serde_json::json;
use shared::ServiceName;

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
    let lifecycle = Lifecycle::new();
    let service = service(Router::new(), lifecycle.clone());
    let flag = service.readiness.register("subscription");
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
    let lifecycle = Lifecycle::new();
    let admin_listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = format!("http://{}", admin_listener.local_addr().unwrap());
    let service = service(router(), lifecycle.clone());
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
async fn a_foreign_host_is_refused_but_for_probes() {
    let lifecycle = Lifecycle::new();
    let site = CommonConfig { site_url: Some("http://posts.com".parse().unwrap()), ..config() };
    let service =
        Service::new(ServiceName::Query, &site, router(), Deps::system().unwrap(), lifecycle.clone());
    let server = Running::with(lifecycle, |listener, _| service.serve(listener, None)).await;
    let client = Client::new();
    let ask = |path: &str, host: &str| client.get(server.url(path)).header("host", host);
    for path in ["/number/1", "/metrics", "/nowhere"] {
        let (status, refused, _) = problem(ask(path, "rebound.example")).await;
        assert_eq!((status.as_u16(), refused.kind.as_str()), (421, "/problems/misdirected"), "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(ask(path, "rebound.example").send().await.unwrap().status(), 200, "{path}");
    }
    for host in ["posts.com", "posts.com:3000", "127.0.0.1"] {
        assert_eq!(ask("/number/1", host).send().await.unwrap().status(), 200, "{host}");
    }
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
