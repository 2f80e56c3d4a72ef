//! The processes after the faults.

use super::Check;
use crate::faults::history::Usage;
use shared::ServiceName;
use std::collections::BTreeMap;

/// How many more files and sockets a process may have open than before the faults: connections that have been used stay
/// open for a while.
pub const MOST_FILES: usize = 16;
/// The most memory that a process may have used.
pub const MOST_MEMORY_KIB: u64 = 192 * 1024;

/// What was observed of the processes.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// What each used before the faults.
    pub before: BTreeMap<ServiceName, Usage>,
    /// What each uses after them.
    pub after: BTreeMap<ServiceName, Usage>,
    /// The most memory that each was seen to use, in KiB.
    pub peaks: BTreeMap<ServiceName, u64>,
    /// The panics in their output.
    pub panics: Vec<String>,
    /// Processes that ended although nobody had ended them.
    pub ended: Vec<String>,
}

impl Machine {
    /// Every check of the processes.
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
                    format!("{service} had {before} open and now has {after}; {MOST_FILES} more are allowed")
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
                check.wrong(|| format!("{service} used {kib} KiB; {MOST_MEMORY_KIB} are allowed"));
            }
        }
        check
    }
}
