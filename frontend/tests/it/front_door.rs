//! Which requests are forwarded, and which are refused.

use crate::world::{Behind, Frontend, exchange};
use axum::Router;
use axum::extract::Request;
use axum::routing::any;

/// Services that answer with their name and the request.
async fn start() -> Frontend {
    let named = |name: &'static str| {
        let answer = async move |request: Request| format!("{name} {} {}", request.method(), request.uri());
        Some(Router::new().fallback(any(answer)))
    };
    let behind = Behind {
        posts: named("posts"),
        comments: named("comments"),
        query: named("query"),
        moderation: named("moderation"),
        ..Behind::default()
    };
    behind.start().await
}

#[tokio::test]
async fn every_public_route_reaches_its_service() {
    let frontend = start().await;
    for (path, service) in [
        ("/posts/create", "posts"),
        ("/posts", "query"),
        ("/posts?limit=2&cursor=1~a%20b", "query"),
        ("/posts/", "comments"),
        ("/posts/1/comments", "comments"),
        ("/query", "query"),
        ("/query/posts/1?wait=5", "query"),
        ("/live?post=1", "query"),
        ("/moderation/queue", "moderation"),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let reply = frontend.send(method, path, &[], "").await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.body, format!("{service} {method} {path}"));
        }
    }
}

#[tokio::test]
async fn what_is_not_public_is_nowhere() {
    let frontend = start().await;
    for path in [
        "/events",
        "/metrics",
        "/livez",
        "/readyz",
        "/subscriptions",
        "/dead-letters",
        "/dead-letters/1/redrive",
        "/events/stream",
        "/postsx",
        "/live/x",
        "/queryx",
        "/nothing",
        "/p",
        "/p/new/x",
    ] {
        for method in ["GET", "POST"] {
            frontend.send(method, path, &[("accept", "application/json")], "").await.is_problem(404);
        }
    }
}

#[tokio::test]
async fn paths_that_can_be_read_in_two_ways_are_refused() {
    let frontend = start().await;
    for path in [
        "/posts/../events",
        "/posts/./events",
        "/posts/%2e%2e/events",
        "/posts//events",
        "//events",
        "/query/..%2fevents",
        "/query/%2Fevents",
        "/posts/..;/events",
        "/posts/%5c..%5cevents",
        "/posts/a%00b",
        "/posts/%252e%252e/events",
        "/pkg/../../etc/passwd",
        "/pkg/%2e%2e/secret",
        "/posts\\..\\events",
    ] {
        let reply = frontend.send("GET", path, &[], "").await;
        assert!(reply.status == 404 || reply.status == 400, "{path}: {reply:?}");
        assert!(!reply.body.contains(" GET "), "{path} reached a service: {reply:?}");
    }
    // A target with a host in it is the same path.
    let request =
        "GET http://blog.example/posts/../events HTTP/1.1\r\nhost: blog.example\r\nconnection: close\r\n\r\n";
    exchange(frontend.public, request).await.is_problem(404);
}

#[tokio::test]
async fn people_get_a_page_and_programs_a_problem() {
    let frontend = start().await;
    let page = frontend.send("GET", "/nothing", &[("accept", "text/html,application/xhtml+xml")], "").await;
    assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"));
    assert!(page.body.contains("<title>Page not found · mini-blog</title>"), "{}", page.body);
    frontend.send("GET", "/nothing", &[("accept", "application/json")], "").await.is_problem(404);
    frontend.send("GET", "/nothing", &[], "").await.is_problem(404);
    frontend.send("PUT", "/", &[], "").await.is_problem(405);
}

#[tokio::test]
async fn probes_and_metrics_have_a_port_of_their_own() {
    let frontend = start().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert_eq!(exchange(frontend.admin, &request).await.status, 200, "{path}");
        assert_eq!(frontend.send("GET", path, &[], "").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn nothing_that_another_site_makes_a_browser_send_comes_through() {
    let frontend = start().await;
    let foreign = [
        vec![("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        vec![("sec-fetch-site", "same-site"), ("origin", "http://other.blog.example")],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
    ];
    let own = [
        vec![("sec-fetch-site", "same-origin"), ("origin", "http://blog.example")],
        vec![("origin", "http://blog.example")],
        vec![],
    ];
    for path in
        ["/posts/create", "/posts/1/comments", "/moderation/comments/1", "/p/new", "/p/1/comments", "/x"]
    {
        for headers in &foreign {
            frontend.send("POST", path, headers, "").await.is_problem(403);
        }
        for headers in &own {
            assert_ne!(frontend.send("POST", path, headers, "").await.status, 403, "{path} {headers:?}");
        }
    }
    for headers in &foreign {
        assert_eq!(frontend.send("GET", "/posts", headers, "").await.status, 200, "reading is for everybody");
    }
}
