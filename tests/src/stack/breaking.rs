//! What a test does to a running stack: what a person could do at the command line, and what befalls machines.

use super::{Ended, Stack, said};
use crate::eventually::{LIMIT, eventually, holds};
use crate::processes::{self, Paused, runs};
use rustix::process::Signal;
use shared::ServiceName;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

/// A copy of a store.
#[derive(Debug)]
pub struct Backup(Vec<(PathBuf, Vec<u8>)>);

impl Stack {
    async fn order(&self, verb: &str, service: ServiceName, runs: bool) {
        let output = self.cli(&[verb, service.as_str()]).await;
        assert!(output.status.success(), "mini-blog {verb} {service}: {}", said(&output));
        // The answer may come a moment before the file that the tests read.
        let what = format!("stack.json says whether {service} runs");
        eventually(LIMIT, &what, async || holds(self.pid(service), |pid| pid.is_some() == runs)).await;
    }

    /// `mini-blog kill`: ends the service on the spot, and it stays down.
    pub async fn kill(&self, service: ServiceName) {
        self.order("kill", service, false).await;
    }

    /// `mini-blog start`: returns when the service is ready.
    pub async fn start_service(&self, service: ServiceName) {
        self.order("start", service, true).await;
    }

    /// `mini-blog restart`: returns when the service is ready again.
    pub async fn restart(&self, service: ServiceName) {
        self.order("restart", service, true).await;
    }

    /// Holds a service still: its port is open, and nobody answers there.
    pub fn pause(&self, service: ServiceName) -> Paused {
        processes::pause(self.pid(service).unwrap_or_else(|| panic!("{service} does not run")))
    }

    /// Ends a service with SIGKILL behind the supervisor's back, and waits until the supervisor has started it
    /// again.
    pub async fn crash(&self, service: ServiceName) {
        let before = self.pid(service).unwrap_or_else(|| panic!("{service} does not run"));
        processes::send(before, Signal::KILL);
        let what = format!("the supervisor starts {service} again");
        eventually(LIMIT, &what, async || match self.pid(service) {
            Some(pid) if pid != before => Ok(()),
            pid => Err(format!("pid {pid:?}, before {before}")),
        })
        .await;
    }

    /// The files of a service's store, which must be down.
    fn store_files(&self, service: ServiceName) -> Vec<PathBuf> {
        assert!(!self.pid(service).is_some_and(runs), "{service} runs");
        let prefix = format!("{service}.db");
        let entries = fs::read_dir(&self.data).expect("the data folder").filter_map(Result::ok);
        let files = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        files.map(|entry| entry.path()).collect()
    }

    /// Deletes the store of a service, which must be down.
    pub fn wipe(&self, service: ServiceName) {
        let files = self.store_files(service);
        assert!(!files.is_empty(), "{service} has no store");
        for file in files {
            fs::remove_file(file).expect("a file to delete");
        }
    }

    /// Keeps a copy of the store of a service, which must be down.
    pub fn back_up(&self, service: ServiceName) -> Backup {
        let read = |path: PathBuf| (path.clone(), fs::read(path).expect("a file to read"));
        Backup(self.store_files(service).into_iter().map(read).collect())
    }

    /// Puts the copy back in place of the store of a service, which must be down.
    pub fn restore(&self, service: ServiceName, backup: &Backup) {
        self.wipe(service);
        for (path, content) in &backup.0 {
            fs::write(path, content).expect("a file to write");
        }
    }

    /// SIGKILL for every process, the supervisor first, so that none of them can say goodbye.
    pub async fn kill_everything(&mut self) {
        let mut up = self.up.take().expect("it runs");
        let pids = self.pids();
        let _ = up.kill();
        up.wait().expect("its end");
        for &pid in pids.values() {
            processes::send(pid, Signal::KILL);
        }
        eventually(LIMIT, "every process has ended", async || match pids.values().find(|pid| runs(**pid)) {
            None => Ok(()),
            Some(pid) => Err(format!("{pid} runs")),
        })
        .await;
    }

    /// Ctrl-C: stops everything in order, and says how that went.
    pub async fn interrupt(&mut self) -> Ended {
        let mut up = self.up.take().expect("it runs");
        let (pids, started) = (self.pids(), Instant::now());
        processes::send(up.id(), Signal::INT);
        let status = eventually(LIMIT, "mini-blog up ends", async || {
            up.try_wait().expect("its state").ok_or_else(|| "it runs".to_owned())
        })
        .await;
        let left: Vec<_> = pids.iter().filter(|(_, pid)| runs(**pid)).collect();
        assert!(left.is_empty(), "left running: {left:?}");
        Ended { code: status.code(), took: started.elapsed() }
    }
}
