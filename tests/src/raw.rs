//! A client that says exactly what it is told to: ordinary ones put paths and headers right before they send them.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends these bytes and gives back everything until the server closes.
pub async fn exchange(authority: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(authority).await.expect("a connection");
    stream.write_all(request).await.expect("the request is taken");
    let mut answer = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(read.is_ok(), "the server neither goes on nor closes; so far it said {answer:?}");
    answer
}

/// A `GET` of this path, whatever it looks like.
pub async fn get(authority: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    exchange(authority, request.as_bytes()).await
}

/// The status in an answer; 0 where it is none.
pub fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}
