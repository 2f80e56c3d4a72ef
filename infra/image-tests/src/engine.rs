//! The container engine: the one that is running, or one of our own for this run.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use system_tests::containers::engine::{Engine, said};
use tempfile::TempDir;

/// How long an engine may take to start, and to end.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// A container engine for this run. Dropping it removes everything with the run's label, and stops the engine if it is our
/// own.
#[derive(Debug)]
pub struct Running {
    pub engine: Engine,
    _own: Option<Own>,
}

/// An engine that only this run uses; all its data is in its folder.
#[derive(Debug)]
struct Own {
    process: Child,
    folder: TempDir,
}

impl Running {
    /// The running engine, or else one of our own; the error says why there is none.
    pub fn find() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can inspect the processes of containers and send them signals".into());
        }
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        if !host.is_empty() && !host.starts_with("unix://") {
            return Err(format!(
                "DOCKER_HOST is another machine ({host}), whose processes cannot be inspected"
            ));
        }
        let run = format!("mini-blog-test-{}", std::process::id());
        let engine = Engine { run: run.clone(), host: None };
        if answers(&engine).is_ok() { Ok(Self { engine, _own: None }) } else { Self::start(run) }
    }

    /// Starts an engine of our own.
    fn start(run: String) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("mini-blog-engine-").tempdir();
        let folder = folder.map_err(|e| format!("cannot create a folder for an engine: {e}"))?;
        let host = format!("unix://{}", folder.path().join("docker.sock").display());
        let log = File::create(folder.path().join("log")).map_err(|e| e.to_string())?;
        let again = log.try_clone().map_err(|e| e.to_string())?;
        let mut command = Command::new("dockerd");
        command.args(["--host", &host, "--bridge", "none", "--data-root"]).arg(folder.path().join("data"));
        command.arg("--exec-root").arg(folder.path().join("run"));
        command.arg("--pidfile").arg(folder.path().join("pid"));
        // Ctrl-C must not reach it: the clean-up needs it.
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(again);
        let process = command.spawn().map_err(|e| format!("dockerd does not start: {e}"))?;
        let engine = Engine { run, host: Some(host) };
        let mut own = Own { process, folder };
        let until = Instant::now() + LIMIT;
        loop {
            let Err(absent) = answers(&engine) else { return Ok(Self { engine, _own: Some(own) }) };
            if !matches!(own.process.try_wait(), Ok(None)) {
                return Err(format!("dockerd has ended: {}", last_line(&own.folder.path().join("log"))));
            }
            if Instant::now() > until {
                return Err(format!("dockerd does not answer: {absent}"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Removes everything of this run, in an order in which nothing is still in use.
    fn clean_up(&self) {
        let label = format!("label=mini-blog.test={}", self.engine.run);
        let of_ours: [(&[&str], &[&str]); 4] = [
            (&["ps", "--all", "--quiet"], &["rm", "--force", "--volumes"]),
            (&["network", "ls", "--quiet"], &["network", "rm"]),
            (&["volume", "ls", "--quiet"], &["volume", "rm", "--force"]),
            (&["images", "--quiet"], &["rmi", "--force"]),
        ];
        for (list, remove) in of_ours {
            let found = self.engine.command(&[list, &["--filter", &label]].concat()).output();
            let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            let found = found.unwrap_or_default();
            let names: Vec<_> = found.split_whitespace().collect();
            if names.is_empty() {
                continue;
            }
            match self.engine.command(&[remove, &names].concat()).output() {
                Ok(output) if output.status.success() => {}
                Ok(output) => {
                    eprintln!("docker {} did not remove everything: {}", remove.join(" "), said(&output));
                }
                Err(e) => eprintln!("docker {}: {e}", remove.join(" ")),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.clean_up();
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.process.id().cast_signed()) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + LIMIT;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > until {
                eprintln!("dockerd does not end and is killed");
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
            thread::sleep(PAUSE);
        }
    }
}

fn answers(engine: &Engine) -> Result<(), String> {
    let output = engine.command(&["info", "--format", "{{.ServerVersion}}"]).output();
    let output = output.map_err(|e| format!("docker cannot be run: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ready = output.status.success() && !output.stdout.trim_ascii().is_empty();
    let reason = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("docker info prints nothing");
    if ready { Ok(()) } else { Err(reason.trim().to_owned()) }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or_default().to_owned()
}
