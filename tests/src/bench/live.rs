//! From the publication of an event at the bus to its arrival at every reader of `/live`.

use super::bare::Bare;
use super::figures::{Row, latency_rows, percentiles, skipped_latency};
use super::machine::{need_memory, need_open_files};
use super::run::{Bench, until_caught_up};
use crate::bus::post_created;
use crate::http::{Server, client};
use crate::stack::Stack;
use shared::ServiceName::{Posts, Query};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const READERS: [usize; 3] = [1, 100, 1_000];
const CEILING: &str = "bare axum, broadcast";
/// How long to wait for all readers of one event.
const LAST: Duration = Duration::from_secs(30);
/// The most events in a round.
const MOST: usize = 60;
/// What 1,000 readers take here and in query.
const MEMORY_MIB: u64 = 512;

pub async fn rows(bench: &Bench, stack: &Stack) -> Vec<Row> {
    let mut rows = Vec::new();
    for readers in READERS {
        let s = if readers == 1 { "" } else { "s" };
        let name = format!("publish to SSE receipt, {readers} reader{s}");
        eprintln!("bench: {name}");
        rows.extend(match row(bench, stack, &name, readers).await {
            Ok(rows) => rows,
            Err(why) => skipped_latency(&name, &why),
        });
    }
    rows
}

async fn row(bench: &Bench, stack: &Stack, name: &str, readers: usize) -> Result<Vec<Row>, String> {
    need_memory(MEMORY_MIB)?;
    need_open_files(readers as u64 + 200)?;
    until_caught_up(stack).await?;
    let bare = Bare::start(bench.folder(), &[]).await?;
    let broadcast = Server::new(&client(), &bare.url);
    let (mut rounds, mut ceilings) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds() {
        let publish = async |marker: &str| {
            let id = format!("live-{readers}-{round}-{marker}");
            let answer = stack.publication(Posts, &post_created(&id, marker)).try_send().await?;
            if answer.status == 200 { Ok(()) } else { Err(format!("the bus answers {}", answer.status)) }
        };
        let took = receive(bench, stack.at(Query), readers, publish).await?;
        rounds.push(percentiles(took).ok_or("nothing was received")?);
        let publish = async |marker: &str| {
            let change = change(marker);
            broadcast.post("/publish").body("text/plain", change).try_send().await.map(drop)
        };
        let took = receive(bench, &broadcast, readers, publish).await?;
        ceilings.push(percentiles(took).ok_or("nothing was received")?);
    }
    Ok(latency_rows(name, &rounds, Some((CEILING, &ceilings))))
}

/// What query sends for a new post.
fn change(title: &str) -> String {
    let id = "0197f00d-0000-7000-8000-000000000001";
    format!(
        r#"{{"sequence":"00000000000000000007","postId":"{id}","post":{{"id":"{id}","title":"{title}","createdAt":"2026-11-20T09:38:56.123Z","version":1}}}}"#
    )
}

/// Publishes events one after the other, each when all readers have the one before; returns how long each took to
/// arrive at each reader.
async fn receive(
    bench: &Bench,
    server: &Server,
    readers: usize,
    publish: impl AsyncFn(&str) -> Result<(), String>,
) -> Result<Vec<Duration>, String> {
    let progress = Arc::new(Progress::default());
    let mut tasks = JoinSet::new();
    for _ in 0..readers {
        tasks.spawn(read(server.authority().to_owned(), Arc::clone(&progress)));
    }
    progress.reach(readers).await?;
    let (begun, mut sent) = (Instant::now(), Vec::new());
    for n in 0..MOST {
        if n > 0 && begun.elapsed() > bench.latency_time() {
            break;
        }
        sent.push(Instant::now());
        publish(&marker(n)).await?;
        progress.reach(readers * (n + 2)).await?;
    }
    // Readers end when they have the last one.
    publish(END).await?;
    let mut took = Vec::new();
    while let Some(arrivals) = timeout(LAST, tasks.join_next()).await.map_err(|_| "a reader never ended")? {
        let arrivals = arrivals.map_err(|e| e.to_string())??;
        if arrivals.len() != sent.len() {
            return Err(format!("a reader received {} of {} events", arrivals.len(), sent.len()));
        }
        took.extend(arrivals.iter().zip(&sent).map(|(arrived, sent)| arrived.duration_since(*sent)));
    }
    Ok(took)
}

/// A title that stands in no other event.
fn marker(n: usize) -> String {
    format!("bench-live-{n:06}")
}

const END: &str = "bench-live-finish";
/// How many bytes every marker has.
const MARKER: usize = END.len();

/// How many hellos and events the readers have received.
#[derive(Debug, Default)]
struct Progress {
    count: AtomicUsize,
    changed: Notify,
}

impl Progress {
    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    async fn reach(&self, count: usize) -> Result<(), String> {
        let reached = async {
            while self.count.load(Ordering::Relaxed) < count {
                self.changed.notified().await;
            }
        };
        let late = |_| format!("{} of {count} receipts within {LAST:?}", self.count.load(Ordering::Relaxed));
        timeout(LAST, reached).await.map_err(late)
    }
}

/// Reads a stream with as little work as can be, since a thousand readers share the machine with what is measured.
async fn read(authority: String, progress: Arc<Progress>) -> Result<Vec<Instant>, String> {
    let failed = |e: std::io::Error| format!("a reader: {e}");
    let mut socket = TcpStream::connect(&authority).await.map_err(failed)?;
    let request = format!("GET /live HTTP/1.1\r\nHost: {authority}\r\nAccept: text/event-stream\r\n\r\n");
    socket.write_all(request.as_bytes()).await.map_err(failed)?;
    let (mut text, mut connected, mut arrivals) = (Vec::new(), false, Vec::new());
    loop {
        if socket.read_buf(&mut text).await.map_err(failed)? == 0 {
            return Err(format!("a stream ended: {}", String::from_utf8_lossy(&text)));
        }
        let now = Instant::now();
        if !connected && contains(&text, b"event: hello") {
            connected = true;
            progress.add();
        }
        while let Some(at) = find(&text, marker(arrivals.len()).as_bytes()) {
            text.drain(..at + MARKER);
            arrivals.push(now);
            progress.add();
        }
        if contains(&text, END.as_bytes()) {
            return Ok(arrivals);
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    find(text, what).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marker_is_as_long_as_the_last() {
        assert_eq!((marker(0).len(), marker(999_999).len()), (MARKER, MARKER));
    }
}
