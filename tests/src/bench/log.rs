//! Appending to the log, at a bus that has no subscriber.

use super::figures::{Better, Row};
use super::raw_disk::{RawStore, Rows};
use super::run::Bench;
use crate::bus::post_created;
use crate::stack::{Setup, Stack};
use serde_json::Value;
use shared::ServiceName::{self, Posts};
use std::time::{Duration, Instant};

const UNIT: &str = "events/s";
/// How many events in a publication.
const SIZES: [(&str, usize); 2] =
    [("append, 1 event at a time", 1), ("append, 1,000 events at a time", 1_000)];
/// What the envelope of such an event takes in the log.
const EVENT_BYTES: usize = 420;

pub async fn rows(bench: &Bench) -> Vec<Row> {
    let others = ServiceName::ALL.into_iter().filter(|service| *service != ServiceName::EventBus);
    let stack = others.fold(Setup::new(), Setup::without).start().await;
    let mut rows = Vec::new();
    for (name, size) in SIZES {
        eprintln!("bench: {name}");
        rows.push(match row(bench, &stack, name, size).await {
            Ok(row) => row,
            Err(why) => Row::skipped(name, UNIT, Better::Higher, why),
        });
    }
    rows
}

async fn row(bench: &Bench, stack: &Stack, name: &str, size: usize) -> Result<Row, String> {
    let what = if size == 1 { "raw SQLite, 1 event a commit" } else { "raw SQLite, 1,000 events a commit" };
    let raw = RawStore::create(bench.folder(), Rows::Event, EVENT_BYTES)?;
    let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds() {
        figures.push(append(stack, size, round, Duration::from_secs(bench.seconds())).await?);
        ceilings.push(raw.commits(size as u64, bench.raw_time()).await?);
    }
    Ok(Row::new(name, UNIT, Better::Higher, figures).with_ceiling(what, ceilings))
}

/// Publishes over one connection for this long; returns the events per second. Only the time until each answer counts.
async fn append(stack: &Stack, size: usize, round: usize, limit: Duration) -> Result<f64, String> {
    let (begun, mut appended, mut waited) = (Instant::now(), 0, Duration::ZERO);
    while begun.elapsed() < limit {
        let event =
            |n| post_created(&format!("log-{size}-{round}-{}", appended + n), "A title of the benchmark");
        let events: Value = if size == 1 { event(0) } else { (0..size).map(event).collect() };
        let publication = stack.publication(Posts, &events);
        let sent = Instant::now();
        let answer = publication.try_send().await?;
        waited += sent.elapsed();
        if answer.status != 200 {
            return Err(format!("the bus answers {}", answer.status));
        }
        appended += size;
    }
    Ok(appended as f64 / waited.as_secs_f64())
}
