//! From the moment a comment is posted to the moment a reader of its post sees it approved.
//!
//! The reader follows `/live` of the post. A comment is due at a fixed time, whether the one before was answered or not,
//! and its time counts from when it was due: a stall counts for every comment that it delays.

use super::figures::{Row, latency_rows, percentiles, skipped_latency};
use super::raw_disk::RawFile;
use super::run::{Bench, until_caught_up};
use crate::bus::comment_created;
use crate::http::Server;
use crate::sse::Reader;
use crate::stack::Stack;
use serde_json::{Value, json};
use shared::ServiceName::{Comments, EventBus, Query};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// How many writes have to reach the disk one after the other: comments, log, moderation, log, comments, log, query.
const COMMITS: u32 = 7;
const CEILING: &str = "7 fdatasync";
/// How many comments the long thread has.
const THREAD: usize = 5_000;
/// Between two comments, where nothing else is to happen.
const IDLE: Duration = Duration::from_millis(40);
/// 200 a second.
const BUSY: Duration = Duration::from_millis(5);
/// How long to wait for the last comment.
const LAST: Duration = Duration::from_secs(30);
/// How many events in one publication.
const BATCH: usize = 1_000;

pub async fn rows(bench: &Bench, stack: &Stack, post: &str) -> Vec<Row> {
    let name = "comment to visible";
    let mut rows = Vec::new();
    for (when, thread, every) in
        [("idle", 0, IDLE), ("at 200 comments/s", 0, BUSY), ("thread of 5,000", THREAD, IDLE)]
    {
        let name = format!("{name}, {when}");
        eprintln!("bench: {name}");
        rows.extend(match row(bench, stack, &name, post, thread, every).await {
            Ok(rows) => rows,
            Err(why) => skipped_latency(&name, &why),
        });
    }
    rows
}

async fn row(
    bench: &Bench,
    stack: &Stack,
    name: &str,
    post: &str,
    thread: usize,
    every: Duration,
) -> Result<Vec<Row>, String> {
    if thread > 0 {
        fill(stack, post, thread).await?;
    }
    until_caught_up(stack).await?;
    let count = (bench.latency_time().as_millis() / every.as_millis()) as usize;
    let raw = RawFile::create(bench.folder())?;
    let (mut rounds, mut ceilings) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds() {
        let label = format!("{name} {round}");
        let took = post_and_watch(stack, post, &label, count, every).await?;
        rounds.push(percentiles(took).ok_or("no comment was seen")?);
        ceilings.push(ceiling(bench, &raw).await?);
    }
    Ok(latency_rows(name, &rounds, Some((CEILING, &ceilings))))
}

/// Posts comments at fixed times; returns how long each took to be seen.
pub async fn post_and_watch(
    stack: &Stack,
    post: &str,
    label: &str,
    count: usize,
    every: Duration,
) -> Result<Vec<Duration>, String> {
    let stream = Reader::open(stack.at(Query).get(&format!("/live?post={post}"))).await?;
    let (seen, mut approvals) = mpsc::unbounded_channel();
    let watching = tokio::spawn(watch(stream, seen));
    let begun = Instant::now() + IDLE;
    let mut due = BTreeMap::new();
    let mut posting = tokio::task::JoinSet::new();
    for n in 0..count {
        let at = begun + every * n as u32;
        let content = format!("{label}, number {n}: about as long as most comments on a page are, or so.");
        due.insert(content.clone(), at);
        sleep_until(at).await;
        posting.spawn(comment(stack.at(Comments).clone(), post.to_owned(), content));
    }
    for answered in posting.join_all().await {
        answered?;
    }
    let mut took = Vec::new();
    while !due.is_empty() {
        let next = timeout(LAST, approvals.recv()).await;
        let next = next.map_err(|_| format!("{} comments were not seen within {LAST:?}", due.len()))?;
        let (content, at) = next.ok_or("the stream of changes ended")?;
        if let Some(due) = due.remove(&content) {
            took.push(at.saturating_duration_since(due));
        }
    }
    watching.abort();
    Ok(took)
}

/// Sends the content of each approved comment with the time of its arrival.
async fn watch(mut stream: Reader, seen: mpsc::UnboundedSender<(String, Instant)>) {
    while let Some(event) = stream.next().await {
        let now = Instant::now();
        let change: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let comment = &change["comment"];
        if comment["status"] == "approved" {
            let content = comment["content"].as_str().unwrap_or_default();
            if seen.send((content.to_owned(), now)).is_err() {
                return;
            }
        }
    }
}

async fn comment(server: Server, post: String, content: String) -> Result<(), String> {
    let request = server.post(&format!("/posts/{post}/comments")).header("prefer", "return=minimal");
    let answer = request.json(&json!({ "content": content })).try_send().await?;
    if answer.status == 201 { Ok(()) } else { Err(format!("a comment was answered {}", answer.status)) }
}

/// Publishes comments of one post in large batches, as comments would.
async fn fill(stack: &Stack, post: &str, count: usize) -> Result<(), String> {
    let events: Vec<_> = (0..count)
        .map(|n| comment_created(&format!("filler-{n}"), post, &format!("Number {n} of a long thread.")))
        .collect();
    for batch in events.chunks(BATCH) {
        let answer = stack.publication(Comments, &Value::from(batch)).try_send().await?;
        if answer.status != 200 {
            return Err(format!("{EventBus} answers {}", answer.status));
        }
    }
    Ok(())
}

async fn ceiling(bench: &Bench, raw: &RawFile) -> Result<[f64; 2], String> {
    let took = raw.syncs(bench.raw_time()).await?;
    let in_a_row = took.chunks_exact(COMMITS as usize).map(|chain| chain.iter().sum()).collect();
    percentiles(in_a_row).ok_or_else(|| "the disk took too long".to_owned())
}
