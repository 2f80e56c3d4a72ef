//! How the processes are after all that.

use super::Check;
use crate::faults::history::Held;
use shared::ServiceName;
use std::collections::BTreeMap;

/// How many more files and sockets a process may hold than before the faults, when it was idle as well: connections to
/// and from the bus that have been used are kept for a while.
pub const MOST_FILES: usize = 16;
/// The most memory that a process may ever have held.
pub const MOST_MEMORY_KIB: u64 = 192 * 1024;

/// What was noticed of the processes.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// What each held before the faults.
    pub before: BTreeMap<ServiceName, Held>,
    /// What each holds after them.
    pub after: BTreeMap<ServiceName, Held>,
    /// The most memory that each was seen to hold.
    pub peaks: BTreeMap<ServiceName, u64>,
    /// The panics in their output.
    pub panics: Vec<String>,
    /// Those that ended and had not been ended.
    pub ended: Vec<String>,
}

impl Machine {
    /// Everything that is held against the processes.
    pub fn checks(&self) -> Vec<Check> {
        vec![
            Check::noticed("no panic in any output", "every line", self.panics.clone()),
            Check::noticed("no process ended that was not killed", "every process", self.ended.clone()),
            self.files(),
            self.memory(),
        ]
    }

    fn files(&self) -> Check {
        let counts = self.before.iter().map(|(service, before)| {
            let after = self.after.get(service).map_or(0, |held| held.files);
            (service, before.files, after)
        });
        let shown: Vec<_> =
            counts.clone().map(|(s, before, after)| format!("{s} {before} -> {after}")).collect();
        let mut check = Check::new("open files and sockets are back where they were", shown.join(", "));
        for (service, before, after) in counts {
            if after == 0 || after > before + MOST_FILES {
                check.wrong(|| {
                    format!("{service} held {before} and now {after}; allowed are {MOST_FILES} more")
                });
            }
        }
        check
    }

    fn memory(&self) -> Check {
        let shown = self.peaks.iter().map(|(service, kib)| format!("{service} {} MiB", kib / 1024));
        let mut check = Check::new("memory stayed bounded", shown.collect::<Vec<_>>().join(", "));
        for (service, &kib) in &self.peaks {
            if kib > MOST_MEMORY_KIB {
                check.wrong(|| format!("{service} held {kib} KiB; allowed are {MOST_MEMORY_KIB}"));
            }
        }
        check
    }
}
