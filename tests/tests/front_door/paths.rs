//! Paths and framings that two programs could read in two ways.

use shared::ServiceName::{Comments, EventBus, Frontend};
use system_tests::{Stack, raw};

/// Routes that no public path may reach.
const PRIVATE: [&str; 7] =
    ["events", "metrics", "livez", "readyz", "subscriptions", "dead-letters", "read-model"];

/// Spellings that a careless program reads as `/{private}`.
const TRICKS: [&str; 42] = [
    "/@",
    "/@/",
    "//@",
    "///@",
    "/./@",
    "/../@",
    "/@?a=b",
    "/@?/posts",
    "/@;/posts",
    "/@%20",
    "/@%00",
    "/%2e/@",
    "/%2f@",
    "/posts/../@",
    "/posts/./../@",
    "/posts/%2e%2e/@",
    "/posts/%2E%2e/@",
    "/posts/.%2e/@",
    "/posts/%2e%2e%2f@",
    "/posts/..%2f@",
    "/posts/..%2F@",
    "/posts/..%5c@",
    "/posts/..\\@",
    "\\@",
    "/posts/..;/@",
    "/posts/..;a=b/@",
    "/posts/%252e%252e/@",
    "/posts/..%252f@",
    "/posts/..%c0%af@",
    "/posts//@",
    "/posts//../@",
    "/posts/x/../../@",
    "/posts/create/../@",
    "/posts/create/../../@",
    "/query/../@",
    "/query/..%2f@",
    "/query/%2e%2e/@",
    "/query//@",
    "/query/posts/..%2f..%2f@",
    "/live/../@",
    "/moderation/../@",
    "/moderation/..%2f@",
];

#[tokio::test]
async fn no_trick_with_the_path_reaches_what_is_private() {
    let stack = Stack::start().await;
    let post = stack.public_blog().post("Something for the log").await;
    stack.public_blog().until_known(&post).await;
    let (door, token) = (stack.front_door().authority(), stack.secret("OPERATOR_TOKEN"));
    // Texts that only the private routes answer.
    let private_texts = ["\"specversion\"", "# TYPE", "lastError", "\"attempts\"", "[\"post\"", "\r\n\r\nok"];
    let head = |line: &str| {
        format!(
            "{line} HTTP/1.1\r\nhost: {door}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        )
    };
    for private in PRIVATE {
        let first = format!("/%{:02x}{}", private.as_bytes()[0], &private[1..]);
        let capital = format!("/{}", private.to_uppercase());
        let absolute = format!("{}/{private}", stack.at(EventBus).url);
        let paths = TRICKS.iter().map(|trick| trick.replace('@', private)).chain([first, capital, absolute]);
        for path in paths {
            for method in ["GET", "POST"] {
                let answer = raw::exchange(door, head(&format!("{method} {path}")).as_bytes()).await;
                let status = raw::status(&answer);
                assert!(matches!(status, 400 | 404 | 405), "{method} {path}: {answer}");
                for tell in private_texts {
                    assert!(!answer.contains(tell), "{method} {path}: {answer}");
                }
            }
        }
    }
    for line in
        [format!("CONNECT {}", stack.at(EventBus).authority()), "OPTIONS *".into(), "GET events".into()]
    {
        let answer = raw::exchange(door, head(&line).as_bytes()).await;
        assert!(matches!(raw::status(&answer), 400 | 404 | 405), "{line}: {answer}");
    }
    // On the services' own ports these texts do appear, so the list above is right.
    let bus = stack.operator_get(EventBus, "/events").await.expect(200).text();
    assert!(bus.contains(private_texts[0]));
    assert_eq!(stack.admin(Frontend).get("/livez").send().await.expect(200).text(), "ok");
    assert!(stack.admin(Frontend).get("/metrics").send().await.expect(200).text().contains("# TYPE"));
}

#[tokio::test]
async fn a_second_request_cannot_hide_in_the_first() {
    let stack = Stack::start().await;
    let door = stack.front_door().authority();
    let hidden = format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", stack.at(Comments).authority());
    let framings = [
        format!("content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: xchunked\r\ncontent-length: 2\r\n\r\n{{}}{hidden}"),
        format!("content-length: 2\r\ncontent-length: 40\r\n\r\n{{}}{hidden}"),
        format!("content-length: +2\r\n\r\n{{}}{hidden}"),
    ];
    for framing in framings {
        let request =
            format!("POST /posts/x/comments HTTP/1.1\r\nhost: {door}\r\nconnection: close\r\n{framing}");
        let answer = raw::exchange(door, request.as_bytes()).await;
        let answers = answer.matches("HTTP/1.1 ").count();
        assert_eq!(answers, 1, "{framing:?}: {answer}");
        assert!((400..500).contains(&raw::status(&answer)), "{framing:?}: {answer}");
    }
}
