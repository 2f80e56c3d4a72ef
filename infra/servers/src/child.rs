//! A child process that ends with its parent, however that ends.
//!
//! A server of somebody else cannot be made to read its standard input, and `PR_SET_PDEATHSIG` counts the end of the
//! thread that started it. So a shell watches: it reads from a pipe whose other end we hold and never write to again.
//! The system closes that end when we end; then the shell stops the server.

use crate::{Error, at};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// `$1`: a folder to remove with the server, or nothing. Children are resumed too: a stopped one would not end, nor would
/// then the server.
const WATCH: &str = r#"
read -r server || exit 0
read -r _
kill -CONT $server $(cat /proc/$server/task/$server/children 2>/dev/null) 2>/dev/null
kill -INT $server 2>/dev/null
left=300
while kill -0 $server 2>/dev/null && [ $left -gt 0 ]; do
    # Not everywhere is somebody who collects the dead.
    case "$(cat /proc/$server/stat 2>/dev/null)" in *") Z "*) break ;; esac
    sleep 0.1
    left=$((left - 1))
done
if [ -n "$1" ]; then
    kill -KILL $server 2>/dev/null
    rm -rf -- "$1"
fi
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Child {
    server: Process,
    watcher: Process,
}

impl Child {
    /// Starts a server whose output goes to this file. If we end before it does, it gets SIGINT, and then the folder
    /// `scratch` is removed.
    pub(crate) fn start(
        program: &'static str,
        mut command: Command,
        log: File,
        scratch: Option<&Path>,
    ) -> Result<Self, Error> {
        let errors = log.try_clone().map_err(at("the log of a server"))?;
        let mut watcher = Command::new("sh")
            .args(["-c", WATCH, "watch-server"])
            .args(scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of a terminal's signals.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Run { program: "sh", source })?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        match command.spawn() {
            Ok(server) => {
                let mut child = Self { server, watcher };
                let written = child
                    .watcher
                    .stdin
                    .as_mut()
                    .map_or(Ok(()), |pipe| writeln!(pipe, "{}", child.server.id()));
                written.map_err(|source| Error::Run { program: "sh", source })?;
                Ok(child)
            }
            Err(source) => {
                drop(watcher.stdin.take());
                let _ = watcher.wait();
                Err(Error::Run { program, source })
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }

    /// How it ended; nothing while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // It fails only for what is no child of ours.
        self.server.try_wait().ok().flatten()
    }

    /// Sends a signal to the server and, with `all`, to its children.
    pub(crate) fn signal(&self, signal: Signal, all: bool) {
        // One that has ended gets no signal. Ours is not collected before `ended`, so its id is its own.
        let send = |pid: u32| {
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                let _ = kill_process(pid, signal);
            }
        };
        send(self.pid());
        // A server that is stopped first starts no child between the two.
        if all {
            for child in children(self.pid()) {
                send(child);
            }
        }
    }

    /// Sends a signal and waits for the end; after the limit, SIGKILL. Whether the signal was enough.
    pub(crate) fn end(mut self, signal: Signal, limit: Duration) -> bool {
        if self.ended().is_some() {
            return true;
        }
        // A stopped one would not notice.
        self.signal(Signal::CONT, true);
        self.signal(signal, false);
        let until = Instant::now() + limit;
        while self.ended().is_none() {
            if Instant::now() >= until {
                self.kill();
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        true
    }

    /// SIGKILL for it and its children, none of which does anything more.
    pub(crate) fn kill(mut self) {
        // Its id may be another process's by now.
        if self.ended().is_some() {
            return;
        }
        // First it must not start any more children, nor see one of them end.
        self.signal(Signal::STOP, false);
        let all = children(self.pid());
        self.signal(Signal::KILL, true);
        let _ = self.server.wait();
        let until = Instant::now() + Duration::from_secs(5);
        while all.iter().any(|pid| runs(*pid)) && Instant::now() < until {
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The watcher first: from here on the server's id may become another process's.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        if self.ended().is_none() {
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
    }
}

/// The children of a process. Empty where the system does not list them.
fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether a process runs; a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}
