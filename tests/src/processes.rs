//! Processes seen from outside.

use crate::eventually::LIMIT;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::time::{Duration, Instant};

/// Sends a signal. A process that has ended meanwhile needs none.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether it runs: it is there, and has not merely not been waited for.
pub fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which stands in parentheses and may hold any character.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// How many files and sockets it has open.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How much memory it holds, in kibibytes.
pub fn memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    row.and_then(|row| row.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A process that is held still (SIGSTOP) and goes on when this is dropped.
#[derive(Debug)]
pub struct Paused(u32);

/// Holds a process still. The signal reaches one thread after the other: only when all have stopped does nobody
/// answer any more.
pub fn pause(pid: u32) -> Paused {
    send(pid, Signal::STOP);
    let until = Instant::now() + LIMIT;
    while moving(pid) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    Paused(pid)
}

/// Whether any thread of a process has not stopped yet.
fn moving(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    let state = |thread: fs::DirEntry| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    // A thread that has ended meanwhile has no state.
    threads.filter_map(state).any(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
}

impl Drop for Paused {
    fn drop(&mut self) {
        send(self.0, Signal::CONT);
    }
}
