//! How a test breaks a running stack: as an operator could, or as a machine could.

use super::{Ended, Runner, Stack};
use crate::processes::{self, Paused, runs};
use rustix::process::Signal;
use shared::ServiceName;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use test_support::{LIMIT, eventually};

/// A copy of a store.
#[derive(Debug)]
pub struct Backup(Vec<(PathBuf, Vec<u8>)>);

impl Stack {
    /// Kills a service (SIGKILL), which stays down.
    pub async fn kill(&self, service: ServiceName) {
        match &self.runner {
            Runner::Program(program) => program.order("kill", service).await,
            Runner::Engine(containers) => containers.kill(service).await,
        }
    }

    /// Starts a service; returns when it is ready.
    pub async fn start_service(&self, service: ServiceName) {
        match &self.runner {
            Runner::Program(program) => program.order("start", service).await,
            Runner::Engine(containers) => containers.start(service).await,
        }
    }

    /// Stops a service in order and starts it again; returns when it is ready.
    pub async fn restart(&self, service: ServiceName) {
        match &self.runner {
            Runner::Program(program) => program.order("restart", service).await,
            Runner::Engine(containers) => containers.restart(service).await,
        }
    }

    /// Pauses a service (SIGSTOP): its port is open, and nothing answers.
    pub fn pause(&self, service: ServiceName) -> Paused {
        processes::pause(self.pid(service).unwrap_or_else(|| panic!("{service} does not run")))
    }

    /// Kills a service (SIGKILL) without telling its supervisor, and waits until it has been started again.
    pub async fn crash(&self, service: ServiceName) {
        let before = self.pid(service).unwrap_or_else(|| panic!("{service} does not run"));
        if let Runner::Engine(containers) = &self.runner {
            containers.expect_death(service);
        }
        processes::send(before, Signal::KILL);
        let what = format!("{service} is started again");
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
        let entries = fs::read_dir(self.data(service)).expect("the data folder").filter_map(Result::ok);
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

    /// Copies the store of a service, which must be down.
    pub fn back_up(&self, service: ServiceName) -> Backup {
        let read = |path: PathBuf| (path.clone(), fs::read(path).expect("a file to read"));
        Backup(self.store_files(service).into_iter().map(read).collect())
    }

    /// Replaces the store of a service, which must be down, by a copy.
    pub fn restore(&self, service: ServiceName, backup: &Backup) {
        self.wipe(service);
        let owner = fs::metadata(self.data(service)).expect("the data folder");
        for (path, content) in &backup.0 {
            fs::write(path, content).expect("a file to write");
            chown(path, Some(owner.uid()), Some(owner.gid())).expect("the owner's file");
        }
    }

    /// Kills every process at once (SIGKILL).
    pub async fn kill_everything(&mut self) {
        let pids = self.pids();
        match &mut self.runner {
            Runner::Program(program) => program.kill_everything(),
            Runner::Engine(containers) => containers.kill_everything().await,
        }
        eventually(LIMIT, "every process has ended", async || match pids.values().find(|pid| runs(**pid)) {
            None => Ok(()),
            Some(pid) => Err(format!("{pid} runs")),
        })
        .await;
    }

    /// Stops everything in order, as Ctrl-C does.
    pub async fn interrupt(&mut self) -> Ended {
        let pids = self.pids();
        let ended = match &mut self.runner {
            Runner::Program(program) => program.interrupt().await,
            Runner::Engine(containers) => containers.interrupt().await,
        };
        let left: Vec<_> = pids.iter().filter(|(_, pid)| runs(**pid)).collect();
        assert!(left.is_empty(), "left running: {left:?}");
        ended
    }
}
