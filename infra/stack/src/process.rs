//! One child process: started, listened to, stopped.

use crate::labels::{Output, Speaker};
use crate::launch::Launch;
use rustix::process::{Pid, Signal, kill_process};
use shared::ServiceName;
use std::io;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The longest line that is written in one piece.
const MAX_LINE: u64 = 16 * 1024;

/// A running service.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Closes when the supervisor ends, which ends the service too.
    _lifeline: Option<ChildStdin>,
    pid: u32,
}

impl Process {
    /// Starts the service; its output goes line by line to `output`.
    pub fn start(launch: &Launch, service: ServiceName, output: &Output) -> io::Result<Self> {
        let environment = launch.environment(service);
        let mut command = Command::new(&launch.program);
        command
            .arg(service.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal reaches the whole group: the supervisor alone is to hear it, and to stop the
            // services in order.
            .process_group(0)
            .kill_on_drop(true);
        for name in &environment.unset {
            command.env_remove(name);
        }
        command.envs(environment.set);
        let mut child = command.spawn()?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(pump(stdout, service, output.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pump(stderr, service, output.clone()));
        }
        let pid = child.id().unwrap_or_default();
        Ok(Self { _lifeline: child.stdin.take(), child, pid })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended. May be given up and called again.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` would close an input that is still there; ours was taken out.
        self.child.wait().await
    }

    /// Ends it on the spot (SIGKILL).
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }

    /// Asks it to stop (SIGTERM), and ends it on the spot where it has not stopped in time or `now` comes.
    /// True where it stopped by itself.
    pub async fn terminate(&mut self, deadline: Instant, now: &CancellationToken) -> io::Result<bool> {
        // Until it has been waited for, the id is its own and nobody else's.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, Signal::TERM)?;
        }
        tokio::select! {
            ended = self.child.wait() => ended.map(|_| true),
            () = tokio::time::sleep_until(deadline) => self.kill().await.map(|_| false),
            () = now.cancelled() => self.kill().await.map(|_| false),
        }
    }
}

/// Hands on what a process writes, line by line, until it closes.
async fn pump(source: impl AsyncRead + Unpin, service: ServiceName, output: Output) {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut source).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                output.line(Speaker::Service(service), text.trim_end_matches(['\n', '\r']));
            }
        }
    }
}
