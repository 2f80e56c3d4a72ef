//! One child process: its start, its output, its signals.

use crate::labels::{LineSource, Output, printable};
use crate::launch::Launch;
use crate::process_name::ProcessName;
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longer lines are written in pieces of this size.
const MAX_LINE: u64 = 16 * 1024;
/// How many characters of an error line are kept.
const MAX_ERROR: usize = 500;
/// How long the rest of a dead process's standard error may take to arrive. It is longer only where a child of the
/// service holds the pipe open.
const REST_OF_ERRORS: Duration = Duration::from_secs(1);
/// What the command line parser writes after the error itself.
const HINTS: [&str; 2] = ["Usage:", "For more information"];

/// A running service.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Closes when the supervisor ends, which ends the service too.
    _lifeline: Option<ChildStdin>,
    pid: u32,
    /// The last line of standard error; services log to standard output, so this is why a service ended.
    last_error: Arc<Mutex<Option<String>>>,
    errors: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts the service; its output goes line by line to `output`.
    pub fn start(launch: &Launch, name: ProcessName, output: &Output) -> io::Result<Self> {
        let environment = launch.environment(name);
        let mut command = Command::new(&launch.program);
        command
            .arg(name.service.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal sends Ctrl-C and Ctrl-Z to the whole group. The supervisor alone must get them: it stops the
            // services in order, and suspends them before itself.
            .process_group(0)
            .kill_on_drop(true);
        for name in &environment.unset {
            command.env_remove(name);
        }
        command.envs(environment.set);
        let mut child = command.spawn()?;
        let last_error = Arc::new(Mutex::new(None));
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(pump(stdout, name, output.clone(), |_| {}));
        }
        let errors = child.stderr.take().map(|stderr| {
            let last = Arc::clone(&last_error);
            tokio::spawn(pump(stderr, name, output.clone(), move |line| remember(&last, line)))
        });
        let pid = child.id().unwrap_or_default();
        Ok(Self { _lifeline: child.stdin.take(), child, pid, last_error, errors })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended. Cancel safe.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` would close standard input if it were still part of `child`.
        self.child.wait().await
    }

    /// The last line that an ended process wrote to standard error.
    pub async fn last_error(self) -> Option<String> {
        if let Some(errors) = self.errors {
            // At the limit, what has arrived so far counts.
            let _ = tokio::time::timeout(REST_OF_ERRORS, errors).await;
        }
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }

    /// Sends a signal; does nothing if the process has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // Until it has been waited for, no other process can have its id.
        match self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            Some(pid) => Ok(kill_process(pid, signal)?),
            None => Ok(()),
        }
    }

    /// SIGTERM, and SIGKILL at the deadline or at `now`. True if SIGTERM was enough.
    pub async fn terminate(&mut self, deadline: Instant, now: &CancellationToken) -> io::Result<bool> {
        self.signal(Signal::TERM)?;
        // A suspended process would not notice.
        self.signal(Signal::CONT)?;
        tokio::select! {
            ended = self.child.wait() => ended.map(|_| true),
            () = tokio::time::sleep_until(deadline) => self.kill().await.map(|_| false),
            () = now.cancelled() => self.kill().await.map(|_| false),
        }
    }
}

/// Passes on what a process writes, line by line, until it closes.
async fn pump(source: impl AsyncRead + Unpin, name: ProcessName, output: Output, seen: impl Fn(&str) + Send) {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut source).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\n', '\r']);
                output.line(LineSource::Service(name), text);
                seen(text);
            }
        }
    }
}

fn remember(last: &Mutex<Option<String>>, line: &str) {
    let line = line.trim();
    if !line.is_empty() && !HINTS.iter().any(|hint| line.starts_with(hint)) {
        let line = printable(line).chars().take(MAX_ERROR).collect();
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_last_line_that_is_no_hint() {
        let last = Mutex::new(None);
        for line in ["error: invalid value", "", "Usage: posts", "For more information, try '--help'."] {
            remember(&last, line);
        }
        assert_eq!(last.into_inner().unwrap().as_deref(), Some("error: invalid value"));
    }
}
