//! Processes seen from outside, and one that ends with its test.

use crate::wait::{LIMIT, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Sends a signal; one that has ended already ignores it.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

/// The kernel's letter for the state of a process: `T` is stopped, `Z` is a zombie; none if it is gone.
pub fn state(pid: u32) -> Option<char> {
    state_in(&Path::new("/proc").join(pid.to_string()))
}

fn state_in(folder: &Path) -> Option<char> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The state follows the name, which stands in parentheses and may hold any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process runs; a zombie does not.
pub fn runs(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// How many files and sockets a process has open.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The resident memory of a process in KiB.
pub fn memory_kib(pid: u32) -> u64 {
    kib_of(pid, "VmRSS:")
}

/// The most resident memory that a process has ever had, in KiB.
pub fn peak_memory_kib(pid: u32) -> u64 {
    kib_of(pid, "VmHWM:")
}

/// Whether a process has a handler for this signal.
pub fn catches(pid: u32, signal: Signal) -> bool {
    let caught = status_row(pid, "SigCgt:").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    caught.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

fn kib_of(pid: u32, name: &str) -> u64 {
    status_row(pid, name).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// The first word after a name in the status of a process.
fn status_row(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let row = status.lines().find_map(|line| line.strip_prefix(name))?;
    row.split_whitespace().next().map(str::to_owned)
}

/// A stopped process (SIGSTOP). It continues when this is dropped.
#[derive(Debug)]
pub struct Paused(u32);

/// Stops a process. The signal reaches one thread after the other, so this returns when all have stopped.
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
    // A thread that has just ended has no state.
    threads.filter_map(|thread| state_in(&thread.path())).any(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
}

impl Drop for Paused {
    fn drop(&mut self) {
        send(self.0, Signal::CONT);
    }
}

/// A process of a test, whose output goes to a file. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints is appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("the log file again")).stderr(file);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        Self { child, log: log.to_owned() }
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; nothing while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        eventually(LIMIT, "a process ends", async || self.ended()).await
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        // It fails only if the process has ended already.
        let _ = self.child.kill();
        self.child.wait().expect("the end of a child");
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
