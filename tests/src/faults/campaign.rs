//! A campaign, from its start to its report.

use super::check::{self, Check, Machine};
use super::history::{self, History, Usage};
use super::inject;
use super::ledger::{Ledger, Rule, Write};
use super::plan::{self, SERVICES};
use super::readers::Readers;
use super::report::Report;
use super::world::World;
use super::writers::{self, Writers};
use shared::ServiceName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use test_support::within;
use tokio::task::JoinHandle;
use tokio::time::sleep;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub seed: u64,
    /// For how many minutes faults are injected.
    pub minutes: f64,
    /// How many writes begin each second, fewer where answers are slow.
    pub writes_per_second: u64,
}

/// So many writes a second leave two shared cores some time for the readers.
pub const WRITES_PER_SECOND: u64 = 40;
/// How long the connections that filled the pools may take to be closed.
const SETTLING: Duration = Duration::from_secs(5);
/// How often memory is measured.
const LOOK: Duration = Duration::from_secs(1);
/// How long connections may take to be closed after the last reader has left, and streams to reach the end of the log.
const CLOSING: Duration = Duration::from_secs(120);

pub async fn run(settings: Settings) -> Report {
    let Settings { seed, minutes, writes_per_second } = settings;
    let plan = plan::draw(seed, Duration::from_secs_f64(minutes * 60.0));
    let world = Arc::new(World::start(&plan.small_disks).await);
    let ledger = Arc::new(Ledger::default());
    writers::fill_pools(&world, &ledger).await;
    sleep(SETTLING).await;
    let before = history::usage(&world);
    let writers = Writers::start(&world, &ledger, seed, writes_per_second);
    let readers = Readers::start(&world, &ledger, seed);
    let peaks = Peaks::watch(&world);

    let injected = inject::carry_out(&world, &plan).await;
    let mut traffic = Vec::new();
    traffic.extend(writers.end().await.err());
    let rest = history::until_at_rest(&world).await;
    let peaks = peaks.end();
    if let Ok(head) = rest {
        traffic.extend(
            until(CLOSING, "the stream has reached the end of the log", || ledger.streamed() >= head)
                .await
                .err(),
        );
    }
    traffic.extend(readers.end().err());
    let after = settled_files(&world, &before).await;
    let found = match rest {
        Ok(_) => History::read(&world).await,
        Err(late) => Err(late),
    };

    let writes = ledger.writes();
    let mut checks = at_once(&ledger, &writes);
    checks.push(Check::noticed(
        "every repeated request is answered in the end",
        "every writer and reader",
        traffic,
    ));
    let events = found.as_ref().map_or(0, |found| found.log.len());
    let rest = found.as_ref().err().cloned().into_iter().collect();
    checks.push(Check::noticed("the system comes to rest", "lags, outboxes, readiness", rest));
    if let Ok(found) = &found {
        checks.extend(check::history(&writes, &ledger.seen(), found));
    }
    let processes = SERVICES.map(|service| world.process(service));
    let machine = Machine {
        before,
        after,
        peaks,
        panics: processes.iter().flat_map(|process| history::panics(process.log())).collect(),
        ended: processes.iter().flat_map(|process| process.ended_by_itself()).collect(),
    };
    checks.extend(machine.checks());
    let (attempts, unavailable) = (ledger.attempts(), ledger.times_unavailable());
    let mut report =
        Report { seed, minutes, attempts, unavailable, writes, events, injected, checks, kept: None };
    if !report.passed() {
        report.kept = Some(world.keep().await);
    }
    report
}

/// The checks of single answers.
fn at_once(ledger: &Ledger, writes: &[Write]) -> Vec<Check> {
    let keyed = writes.iter().filter(|write| write.keyed).count();
    [
        (Rule::FirstAnswer, "a repeated request gets its first answer", format!("{keyed} writes with a key")),
        (
            Rule::ErrorAnswers,
            "nothing is answered 500, and every 503 has Retry-After",
            "every answer".to_owned(),
        ),
        (Rule::ApprovedText, "no reader sees text that is not approved", "every comment seen".to_owned()),
        (Rule::Stream, "the streamed log has no gap and does not go back", "every event streamed".to_owned()),
    ]
    .into_iter()
    .map(|(rule, name, examined)| Check::noticed(name, examined, ledger.complaints(rule)))
    .collect()
}

/// Waits until no more files are open than allowed, or for as long as idle connections may stay open.
async fn settled_files(world: &World, before: &BTreeMap<ServiceName, Usage>) -> BTreeMap<ServiceName, Usage> {
    let most = |service| before.get(&service).map_or(0, |held| held.files + check::MOST_FILES);
    let few = || history::usage(world).into_iter().all(|(service, held)| held.files <= most(service));
    // The check reports the numbers either way.
    let _ = until(CLOSING, "files are closed", few).await;
    history::usage(world)
}

async fn until(limit: Duration, what: &str, condition: impl Fn() -> bool) -> Result<(), String> {
    within(limit, what, async || if condition() { Ok(()) } else { Err("not yet".to_owned()) }).await
}

/// The most memory that each process uses.
struct Peaks {
    peaks: Arc<Mutex<BTreeMap<ServiceName, u64>>>,
    watching: JoinHandle<()>,
}

impl Peaks {
    fn watch(world: &Arc<World>) -> Self {
        let peaks = Arc::new(Mutex::new(BTreeMap::new()));
        let (world, noted) = (Arc::clone(world), Arc::clone(&peaks));
        let watching = tokio::spawn(async move {
            loop {
                for (service, held) in history::usage(&world) {
                    let mut peaks = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    let peak: &mut u64 = peaks.entry(service).or_default();
                    *peak = held.memory_kib.max(*peak);
                }
                sleep(LOOK).await;
            }
        });
        Self { peaks, watching }
    }

    fn end(self) -> BTreeMap<ServiceName, u64> {
        self.watching.abort();
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
