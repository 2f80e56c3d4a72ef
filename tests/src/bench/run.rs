//! A run, from its first start to its report.

use super::figures::{Better, Row};
use super::machine::Machine;
use super::report::Report;
use super::{creates, footprint, growth, live, log, reads, rebuild, visible};
use crate::stack::{Setup, Stack, said};
use serde::{Deserialize, Serialize};
use shared::ServiceName;
use std::path::{Path, PathBuf};
use std::time::Duration;
use test_support::{eventually, within};

/// How much is measured, and on how much data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// About two minutes of measuring, instead of half an hour.
    pub quick: bool,
    /// How many posts and comments are stored before anything is read.
    pub posts: u64,
    pub comments: u64,
    /// Only the rows of these groups; all where there are none.
    pub only: Vec<Group>,
}

/// The rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    Reads,
    Creates,
    Visible,
    Live,
    Log,
    Rebuild,
    Sizes,
    /// Ten million events beside ten thousand: half an hour and 24 GiB of disk, so only where it is asked for.
    Growth,
}

/// What every row needs.
#[derive(Debug)]
pub struct Bench {
    settings: Settings,
    folder: PathBuf,
}

/// How long the other services may take to apply what was written.
const CATCH_UP: Duration = Duration::from_secs(600);

impl Bench {
    /// A folder for what the rows write beside the stack, on the same disk.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How often each figure is taken.
    pub fn rounds(&self) -> usize {
        if self.settings.quick { 3 } else { 5 }
    }

    /// How long one measurement of a rate takes.
    pub fn seconds(&self) -> u64 {
        if self.settings.quick { 1 } else { 5 }
    }

    /// How long one measurement of a ceiling on the disk takes.
    pub fn raw_time(&self) -> Duration {
        Duration::from_millis(if self.settings.quick { 1_000 } else { 3_000 })
    }

    /// How long one measurement of latencies takes.
    pub fn latency_time(&self) -> Duration {
        Duration::from_secs(if self.settings.quick { 2 } else { 10 })
    }

    /// From how many events query is rebuilt.
    pub fn rebuilt_events(&self) -> u64 {
        if self.settings.quick { 50_000 } else { 1_000_000 }
    }

    fn measures(&self, group: Group) -> bool {
        (self.settings.only.is_empty() && group != Group::Growth) || self.settings.only.contains(&group)
    }
}

/// Measures everything. `folder` is on the disk that is measured.
pub async fn run(settings: Settings, folder: PathBuf) -> Report {
    let machine = Machine::look();
    let bench = Bench { settings, folder };
    let mut rows = Vec::new();
    // One client must be able to write as fast as it can.
    let setup = Setup::new().with_env("RATE_LIMITS", "off").with_env("RUST_LOG", "warn");
    let (start, stack) = footprint::start(&bench, &setup).await;
    let idle = footprint::memory(&stack, "idle");
    match fill(&stack, &bench.settings).await {
        Ok(post) => {
            if bench.measures(Group::Reads) {
                rows.extend(reads::rows(&bench, &stack, &post).await);
            }
            if bench.measures(Group::Live) {
                rows.extend(live::rows(&bench, &stack).await);
            }
            if bench.measures(Group::Visible) {
                rows.extend(visible::rows(&bench, &stack, &post).await);
            }
            if bench.measures(Group::Creates) {
                rows.extend(creates::rows(&bench, &stack).await);
            }
        }
        Err(why) => rows.push(Row::skipped("every row on stored data", "", Better::Higher, why)),
    }
    let loaded = footprint::memory(&stack, "loaded");
    drop(stack);
    if bench.measures(Group::Log) {
        rows.extend(log::rows(&bench).await);
    }
    if bench.measures(Group::Rebuild) {
        rows.push(rebuild::row(&bench).await);
    }
    if bench.measures(Group::Growth) {
        rows.extend(growth::rows(&bench).await);
    }
    rows.extend(idle);
    rows.extend(loaded);
    rows.push(start);
    if bench.measures(Group::Sizes) {
        rows.extend(footprint::sizes());
    }
    Report { machine, settings: bench.settings, rows }
}

/// Stores what is read; returns the post whose comments are read.
async fn fill(stack: &Stack, settings: &Settings) -> Result<String, String> {
    let [posts, comments] = [settings.posts, settings.comments].map(|n| n.to_string());
    let seeded = stack.cli(&["seed", "--posts", &posts, "--comments", &comments]).await;
    if !seeded.status.success() {
        return Err(format!("nothing is stored: {}", said(&seeded).trim()));
    }
    until_caught_up(stack).await?;
    let blog = stack.blog();
    let page = blog.query.get("/posts?limit=1").try_send().await?.json();
    let newest = page["items"][0]["id"].as_str().ok_or("the first page of posts is empty")?;
    Ok(newest.to_owned())
}

/// Waits until every running service has applied the whole log.
pub async fn until_caught_up(stack: &Stack) -> Result<(), String> {
    within(CATCH_UP, "every service has caught up", async || {
        for service in ServiceName::PEERS.into_iter().filter(|peer| stack.pid(*peer).is_some()) {
            let row = stack.subscription(service.as_str()).await;
            if row["lag"] != 0 {
                return Err(format!("{service}: {row}"));
            }
        }
        Ok(())
    })
    .await
}

/// The number of events in the log, where all services have caught up.
pub async fn head_of(stack: &Stack) -> Result<u64, String> {
    let row = eventually(CATCH_UP, "a subscription", async || {
        let row = stack.subscription(ServiceName::Comments.as_str()).await;
        row["cursor"].as_str().map(str::to_owned)
    });
    row.await.parse().map_err(|_| "the cursor is not a number".to_owned())
}
