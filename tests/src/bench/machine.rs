//! The machine: what the figures depend on, and whether it can take a row.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub memory_gib: u64,
    pub kernel: String,
    /// The load average of the last minute before the run: what other programs did.
    pub load: f64,
}

/// A load that leaves each core to the benchmark most of the time.
const QUIET: f64 = 0.25;

impl Machine {
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let named = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let load = read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: named(&cpu, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            memory_gib: kib_of("MemTotal").div_ceil(1024 * 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, memory_gib, kernel, load } = self;
        write!(
            f,
            "{cores} cores ({processor}), {memory_gib} GiB, Linux {kernel}; load average before the run: {load:.2}"
        )?;
        if *load > QUIET * *cores as f64 {
            write!(f, "\nOther programs were running: the figures are too low, and the ratios say little.")?;
        }
        Ok(())
    }
}

/// A row of `/proc/meminfo` in KiB.
fn kib_of(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let row = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    row.and_then(|row| row.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// An error where less memory is available.
pub fn need_memory(mib: u64) -> Result<(), String> {
    let available = kib_of("MemAvailable") / 1024;
    if available >= mib {
        Ok(())
    } else {
        Err(format!("needs {mib} MiB of memory; {available} are available"))
    }
}

/// An error where the disk of this folder has less space.
pub fn need_disk(folder: &Path, mib: u64) -> Result<(), String> {
    let disk = rustix::fs::statvfs(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let free = disk.f_bavail * disk.f_frsize / (1024 * 1024);
    if free >= mib { Ok(()) } else { Err(format!("needs {mib} MiB of disk; {free} are free")) }
}

/// Raises the limit of open files as far as it goes; an error where that is fewer.
pub fn need_open_files(count: u64) -> Result<(), String> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    raised.map_err(|e| format!("the limit of open files cannot be raised: {e}"))?;
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < count => Err(format!("needs {count} open files; at most {most} are allowed")),
        _ => Ok(()),
    }
}

/// The proportional set size of a process in MiB: its own memory, and its share of what it has in common with others,
/// so that the sum over processes counts nothing twice.
pub fn pss_mib(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let row = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: f64 = row.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described_and_cannot_do_everything() {
        let machine = Machine::look();
        assert!(machine.cores > 0 && machine.memory_gib > 0, "{machine}");
        assert!(pss_mib(std::process::id()).unwrap() > 0.1);
        assert!(need_memory(1).is_ok() && need_memory(u64::MAX).is_err());
        assert!(need_disk(Path::new("/"), 0).is_ok() && need_disk(Path::new("/"), u64::MAX).is_err());
        assert!(need_open_files(16).is_ok());
    }
}
