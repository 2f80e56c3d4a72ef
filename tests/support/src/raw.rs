//! HTTP byte by byte: other clients normalise paths and headers before they send them.

use crate::wait::in_time;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

/// An open connection.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects.
    pub async fn connect(address: impl ToSocketAddrs) -> Self {
        Self(TcpStream::connect(address).await.expect("a connection"))
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("a server that reads");
    }

    /// Everything until the server closes.
    pub async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        let read = in_time("the server closes the connection", self.0.read_to_end(&mut all)).await;
        read.expect("a connection that does not break");
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Reads to the end of this text, not beyond it; returns everything up to there.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        let read = async {
            while !all.ends_with(end.as_bytes()) {
                let byte = self.0.read_u8().await;
                all.push(byte.unwrap_or_else(|e| {
                    panic!("no {end:?} ({e}): {:?}", String::from_utf8_lossy(&all));
                }));
            }
        };
        in_time(&format!("the server sends {end:?}"), read).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Whether the server sends nothing for this long.
    pub async fn is_silent_for(&mut self, span: Duration) -> bool {
        tokio::time::timeout(span, self.0.read_u8()).await.is_err()
    }
}

/// Sends these bytes on a new connection; returns everything until the server closes it.
pub async fn exchange(address: impl ToSocketAddrs, request: &[u8]) -> String {
    let mut connection = Connection::connect(address).await;
    connection.send(request).await;
    connection.read_to_end().await
}

/// `GET` of exactly this path.
pub async fn get(authority: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    exchange(authority, request.as_bytes()).await
}

/// The status of an answer; 0 if it has none.
pub fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}

/// An answer in its parts.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body, without its chunks.
    pub body: String,
}

impl Answer {
    /// Reads a whole answer.
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        Self { status: status(head), head: head.to_owned(), body }
    }

    /// The first header of this name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.all(name).into_iter().next().unwrap_or_default()
    }

    /// Every header of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        body += &after[..size];
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}
