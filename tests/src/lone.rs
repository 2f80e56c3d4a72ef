//! One service alone, as a process of its own, without secrets.

use crate::eventually::{LIMIT, eventually};
use crate::http::{Place, client};
use crate::processes;
use crate::program;
use rustix::process::Signal;
use serde_json::Value;
use shared::ServiceName;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A service that runs alone. Dropping it ends it, and fails the test if it has panicked.
#[derive(Debug)]
pub struct Lone {
    /// Where it is spoken to.
    pub place: Place,
    process: Child,
    folder: TempDir,
}

impl Lone {
    /// Starts it on a free port with an empty store, and waits until it listens.
    pub async fn start(service: ServiceName) -> Self {
        let folder = tempfile::Builder::new().prefix("mini-blog-test-").tempdir().expect("a folder");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut command = Command::new(program::path());
        command.arg(service.as_str());
        command.args(["--insecure", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"]);
        command.arg(folder.path().join("data")).stdin(Stdio::null());
        let process = command.stdout(log.try_clone().expect("the log again")).stderr(log).spawn();
        let mut this =
            Self { place: Place::new(&client(), ""), process: process.expect("the service starts"), folder };
        let address = eventually(LIMIT, "the service listens", async || {
            let ended = this.process.try_wait().expect("its state");
            assert!(ended.is_none(), "it has ended: {}", this.output());
            this.address().ok_or_else(|| this.output())
        })
        .await;
        this.place = Place::new(&client(), &format!("http://{address}"));
        this
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn address(&self) -> Option<String> {
        let output = self.output();
        let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find_map(|line| line["address"].as_str().map(str::to_owned))
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        processes::send(self.pid(), Signal::KILL);
        let _ = self.process.wait();
        let output = self.output();
        assert!(std::thread::panicking() || !output.contains("panicked"), "it has panicked: {output}");
    }
}
