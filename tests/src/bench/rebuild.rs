//! Query's read model, rebuilt from the whole log.

use super::figures::{Better, Row};
use super::machine::{need_disk, need_memory};
use super::raw_disk;
use super::run::{Bench, head_of, until_caught_up};
use crate::stack::{Setup, said};
use shared::ServiceName::{EventBus, Frontend, Query};
use std::time::Instant;

const UNIT: &str = "events/s";
/// Each post has so many comments, and each comment three events.
const COMMENTS: u64 = 15;
const EVENTS_OF_POST: u64 = 1 + 3 * COMMENTS;
const MEMORY_MIB: u64 = 1_024;

pub async fn row(bench: &Bench) -> Row {
    let events = bench.rebuilt_events();
    let name = format!("rebuild of query from {events} events");
    eprintln!("bench: {name}");
    match measure(bench, &name, events).await {
        Ok(row) => row,
        Err(why) => Row::skipped(name, UNIT, Better::Higher, why),
    }
}

async fn measure(bench: &Bench, name: &str, events: u64) -> Result<Row, String> {
    need_memory(MEMORY_MIB)?;
    // The log, three stores and the raw one.
    need_disk(bench.folder(), 200 + events * 4 / 1_000)?;
    let mut stack = Setup::new().without(Frontend).without(Query).start().await;
    let posts = events.div_ceil(EVENTS_OF_POST);
    let numbers = [posts, posts * COMMENTS].map(|n| n.to_string());
    let seeded = stack.cli(&["seed", "--posts", &numbers[0], "--comments", &numbers[1]]).await;
    if !seeded.status.success() {
        return Err(format!("the log cannot be filled: {}", said(&seeded).trim()));
    }
    let mut figures = Vec::new();
    for round in 0..bench.rounds() {
        if round > 0 {
            stack.kill(Query).await;
            stack.wipe(Query);
        }
        let begun = Instant::now();
        // Its answer may say that query is not ready yet, for a large log: that is waited for below.
        stack.cli(&["start", Query.as_str()]).await;
        until_caught_up(&stack).await?;
        figures.push(head_of(&stack).await? as f64 / begun.elapsed().as_secs_f64());
    }
    let log = stack.database(EventBus);
    stack.interrupt().await;
    let mut ceilings = Vec::new();
    for _ in 0..bench.rounds() {
        let (folder, log) = (bench.folder().to_owned(), log.clone());
        let fold = tokio::task::spawn_blocking(move || raw_disk::fold_log(&folder, &log));
        ceilings.push(fold.await.map_err(|e| e.to_string())??);
    }
    let what = "raw SQLite, 1,000 events a commit";
    Ok(Row::new(name, UNIT, Better::Higher, figures).with_ceiling(what, ceilings))
}
