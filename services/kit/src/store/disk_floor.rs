//! A floor of free disk space, below which a store takes no writes.
//!
//! SQLite copes with a full disk. But at that moment the checkpoint, the log lines and the other programs of the machine
//! have no space either; the floor leaves them some.

use crate::rt::Instant;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How often the free space is measured.
const EVERY: Duration = Duration::from_secs(1);
const MIB: u64 = 1024 * 1024;

/// How much of the disk must be free, in whole MiB. With 0, nothing is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFloor {
    mib: u64,
}

impl DiskFloor {
    /// So many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self { mib }
    }
}

impl Default for DiskFloor {
    fn default() -> Self {
        Self::mib(64)
    }
}

impl fmt::Display for DiskFloor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mib)
    }
}

impl FromStr for DiskFloor {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::mib)
    }
}

/// Measures the free space of one folder's disk, and logs when the floor is passed.
pub(super) struct Gauge {
    floor: DiskFloor,
    dir: PathBuf,
    measured: Option<Instant>,
    is_low: bool,
}

impl Gauge {
    pub(super) fn new(floor: DiskFloor, dir: &Path) -> Self {
        Self { floor, dir: dir.to_owned(), measured: None, is_low: false }
    }

    /// The floor, where less than that is free.
    pub(super) fn passed(&mut self) -> Option<DiskFloor> {
        let now = Instant::now();
        if self.floor.mib > 0 && self.measured.is_none_or(|at| now.duration_since(at) >= EVERY) {
            self.measured = Some(now);
            self.measure();
        }
        self.is_low.then_some(self.floor)
    }

    fn measure(&mut self) {
        let free = match rustix::fs::statvfs(&self.dir) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            // Then SQLite finds out about a full disk itself.
            Err(error) => {
                tracing::debug!(%error, "the free disk space cannot be measured");
                u64::MAX
            }
        };
        let is_low = free < self.floor.mib.saturating_mul(MIB);
        if is_low != self.is_low {
            let (dir, floor_mib, free_mib) = (self.dir.display(), self.floor.mib, free / MIB);
            if is_low {
                tracing::error!(%dir, floor_mib, free_mib, "the disk is nearly full: writes are refused until there is space");
            } else {
                tracing::info!(%dir, floor_mib, free_mib, "the disk has space again: writes are accepted");
            }
        }
        self.is_low = is_low;
    }
}
