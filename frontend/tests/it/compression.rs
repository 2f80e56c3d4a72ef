//! Which answers are compressed, and for whom.

use crate::world::{Behind, Frontend};
use axum::Router;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use flate2::read::GzDecoder;
use serde_json::json;
use std::io::Read;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GZIP: (&str, &str) = ("accept-encoding", "br, gzip;q=0.8");

async fn start() -> Frontend {
    let long = "a long text ".repeat(500);
    let post = async move |headers: HeaderMap| {
        let mine = headers.contains_key("cookie");
        let comment = json!({"id": "c1", "content": long, "status": "pending", "mine": mine});
        axum::Json(json!({
            "id": "p1", "title": "T", "comments": [comment], "earlier": null, "later": null, "commentCount": 0,
            "sequence": "7"
        }))
    };
    let list = async || axum::Json(json!({"items": [], "next": null, "padding": "x".repeat(5_000)}));
    let short = async || "{}";
    let live = async || ([("content-type", "text/event-stream")], ":\n".repeat(2_000)).into_response();
    let encoded = async || ([("content-encoding", "br")], "x".repeat(5_000)).into_response();
    let query = Router::new()
        .route("/posts", get(list))
        .route("/query/posts/{id}", get(post))
        .route("/query/short", get(short))
        .route("/query/encoded", get(encoded))
        .route("/live", get(live));
    Behind { query: Some(query), ..Behind::default() }.start().await
}

/// The headers of an answer that is compressed, in small letters, and its body as text.
async fn unzipped(frontend: &Frontend, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.0\r\nhost: blog.example\r\n{}: {}\r\n\r\n", GZIP.0, GZIP.1);
    let mut connection = frontend.connect().await;
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).await.unwrap();
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let mut text = String::new();
    GzDecoder::new(&bytes[body..]).read_to_string(&mut text).unwrap();
    (String::from_utf8_lossy(&bytes[..body]).to_lowercase(), text)
}

#[tokio::test]
async fn pages_and_json_are_compressed_for_those_who_accept_it() {
    let frontend = start().await;
    for path in ["/", "/p/p1", "/posts?limit=20", "/query/posts/p1"] {
        let plain = frontend.get(path).await;
        assert_eq!((plain.status, plain.header("content-encoding")), (200, ""), "{path}");
        assert!(plain.header("vary").to_lowercase().contains("accept-encoding"), "{path}: {plain:?}");
        let (head, text) = unzipped(&frontend, path).await;
        for there in [" 200 ", "content-encoding: gzip", "vary: accept-encoding"] {
            assert!(head.contains(there), "{path}: {there}: {head}");
        }
        let has_key = |text: &str| text.contains("-key\" value=\"");
        assert_eq!((text.len(), has_key(&text)), (plain.body.len(), has_key(&plain.body)), "{path}");
    }
}

#[tokio::test]
async fn what_only_its_reader_may_see_is_not_compressed() {
    let frontend = start().await;
    let author = ("cookie", "author=0123456789abcdef0123456789abcdef");
    for path in ["/p/p1", "/query/posts/p1"] {
        let answer = frontend.send("GET", path, &[GZIP, author], "").await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, ""), "{path}");
    }
}

#[tokio::test]
async fn short_answers_streams_and_what_is_compressed_already_stay_as_they_are() {
    let frontend = start().await;
    for (path, encoding) in [("/query/short", ""), ("/live", ""), ("/query/encoded", "br")] {
        let answer = frontend.send("GET", path, &[GZIP], "").await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, encoding), "{path}");
    }
}
