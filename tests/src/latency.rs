//! How long something takes, compared within one run: the machine is as fast, or as busy, for both halves.

use std::fmt;
use std::time::Duration;

/// How many times as long as before something may take. Wide, since machines are busy; what has to wait for a timeout
/// or a backoff takes hundreds of times as long.
const MOST: u32 = 25;
/// A shorter time is taken for this one: below it, noise is larger than what is measured.
const SHORTEST: Duration = Duration::from_millis(4);

/// The median and the 99th percentile of some durations.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub p50: Duration,
    pub p99: Duration,
}

impl Latency {
    /// Summarises durations, of which there must be some.
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self { p50: all[all.len() / 2], p99: all[all.len() * 99 / 100] }
    }

    /// Fails unless the median is about what it was before.
    #[track_caller]
    pub fn assert_like(&self, before: Self, what: &str) {
        println!("{what}: {before}, then {self}");
        let most = before.p50.max(SHORTEST) * MOST;
        assert!(self.p50 <= most, "{what} takes far longer than before: {before}, then {self}");
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.1?}, p99 {:.1?}", self.p50, self.p99)
    }
}
