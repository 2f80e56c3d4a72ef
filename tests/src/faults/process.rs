//! The process of one service, kept running as a supervisor would, unless it has to be down.

use crate::processes::{self, Paused};
use rustix::process::Signal;
use shared::ServiceName;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a process may take to end.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause before a process that has ended is started again.
const PAUSE: Duration = Duration::from_millis(200);

/// How a service is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program; the service is its first argument.
    pub program: PathBuf,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// The file for its output.
    pub log: PathBuf,
}

/// A service that is kept running. Dropping this ends it.
#[derive(Debug)]
pub struct Process {
    /// The service.
    pub service: ServiceName,
    log: PathBuf,
    wanted: watch::Sender<bool>,
    pid: watch::Receiver<Option<u32>>,
    ends: Arc<Mutex<Ends>>,
    keeper: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Ends {
    /// The process that was killed on purpose, whose end is expected.
    killed: Option<u32>,
    /// The process that was asked to stop, which has to end with 0.
    stopped: Option<u32>,
    by_itself: Vec<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.keeper.abort();
        // The keeper kills its child as well, but perhaps only after its folder has been deleted.
        if let Some(pid) = self.pid() {
            processes::send(pid, Signal::KILL);
        }
    }
}

fn lock(ends: &Mutex<Ends>) -> std::sync::MutexGuard<'_, Ends> {
    ends.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Starts the service and keeps it running.
    pub fn keep(service: ServiceName, start: Start) -> Self {
        let (wanted, is_wanted) = watch::channel(true);
        let (pid_is, pid) = watch::channel(None);
        let ends = Arc::new(Mutex::new(Ends::default()));
        let log = start.log.clone();
        let keeper = Keeper { service, start, pid: pid_is, ends: Arc::clone(&ends) };
        let keeper = tokio::spawn(keeper.keep(is_wanted));
        Self { service, log, wanted, pid, ends, keeper }
    }

    /// The id of its process; nothing while it is down.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Kills it (SIGKILL) and keeps it down.
    pub async fn down(&self) {
        self.wanted.send_replace(false);
        let mut pid = self.pid.clone();
        let gone = timeout(LIMIT, pid.wait_for(Option::is_none)).await;
        assert!(gone.is_ok(), "{} does not end within {LIMIT:?}", self.service);
    }

    /// Kills it (SIGKILL); it is started again at once.
    pub fn crash(&self) -> Result<(), String> {
        let pid = self.pid().ok_or("it was not running at that moment")?;
        lock(&self.ends).killed = Some(pid);
        processes::send(pid, Signal::KILL);
        Ok(())
    }

    /// Asks it to stop (SIGTERM); when it has ended, it is started again.
    pub fn stop(&self) -> Result<(), String> {
        let pid = self.pid().ok_or("it was not running at that moment")?;
        // In the first moment of a process the signal ends it, as it ends any program that does not catch it.
        if !processes::catches(pid, Signal::TERM) {
            return Err("it had just begun".to_owned());
        }
        // A second signal would end it at once.
        if lock(&self.ends).stopped.replace(pid) == Some(pid) {
            return Err("it was stopping already".to_owned());
        }
        processes::send(pid, Signal::TERM);
        Ok(())
    }

    /// Starts it again.
    pub fn up(&self) {
        self.wanted.send_replace(true);
    }

    /// Pauses it until the result is dropped; nothing while it is down.
    pub fn pause(&self) -> Option<Paused> {
        self.pid().map(processes::pause)
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How its processes ended, where that was not on purpose or not with 0.
    pub fn ended_by_itself(&self) -> Vec<String> {
        lock(&self.ends).by_itself.clone()
    }
}

struct Keeper {
    service: ServiceName,
    start: Start,
    pid: watch::Sender<Option<u32>>,
    ends: Arc<Mutex<Ends>>,
}

impl Keeper {
    async fn keep(self, mut wanted: watch::Receiver<bool>) {
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            match spawn(self.service, &self.start) {
                Ok(child) => self.watch(child, &mut wanted).await,
                Err(error) => self.note(format!("does not start: {error}")),
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until the process has ended, or has to be down.
    async fn watch(&self, mut child: Child, wanted: &mut watch::Receiver<bool>) {
        let pid = child.id();
        // Open until then: a supervised service ends when its supervisor closes this.
        let _stdin = child.stdin.take();
        self.pid.send_replace(pid);
        let unwanted = async { drop(wanted.wait_for(|wanted| !wanted).await) };
        tokio::select! {
            ended = child.wait() => {
                self.pid.send_replace(None);
                self.ended(pid, ended);
            }
            () = unwanted => {
                // It fails only if the process has ended already.
                let _ = child.kill().await;
                self.pid.send_replace(None);
            }
        }
    }

    fn ended(&self, pid: Option<u32>, how: io::Result<ExitStatus>) {
        let (killed, stopped) = {
            let ends = lock(&self.ends);
            (ends.killed == pid, ends.stopped == pid)
        };
        match how {
            _ if killed => {}
            Ok(status) if stopped && status.success() => {}
            Ok(status) if status.code() == Some(1) && self.found_its_disk_full() => {}
            Ok(status) if stopped => self.note(format!("was asked to stop, and ended with {status}")),
            Ok(status) => self.note(format!("ended with {status}")),
            Err(error) => self.note(format!("its end is unknown: {error}")),
        }
    }

    /// Whether its last line says that it cannot start on a full disk; the next start may succeed.
    fn found_its_disk_full(&self) -> bool {
        let output = std::fs::read(&self.start.log).unwrap_or_default();
        let last = output.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let last = String::from_utf8_lossy(last);
        last.starts_with(&format!("{}: cannot open the store", self.service))
            && last.ends_with("disk is full")
    }

    fn note(&self, how: String) {
        lock(&self.ends).by_itself.push(format!("{} {how}", self.service));
    }
}

fn spawn(service: ServiceName, start: &Start) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(&start.log)?;
    let mut command = Command::new(&start.program);
    command.arg(service.as_str()).env_clear().envs(start.environment.iter().map(|(n, v)| (n, v)));
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn()
}
