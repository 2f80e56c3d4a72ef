//! One service alone, as a process, without secrets.

use crate::http::{Server, client};
use crate::program;
use serde_json::Value;
use shared::ServiceName;
use std::process::Command;
use tempfile::TempDir;
use test_support::processes::Process;
use test_support::{LIMIT, eventually};

/// A service that runs alone. Dropping it ends it, and fails the test if it has panicked.
#[derive(Debug)]
pub struct SingleService {
    /// Its address.
    pub place: Server,
    process: Process,
    _folder: TempDir,
}

impl SingleService {
    /// Starts it on a free port with an empty store, and waits until it listens.
    pub async fn start(service: ServiceName) -> Self {
        let folder = tempfile::Builder::new().prefix("mini-blog-test-").tempdir().expect("a folder");
        let mut command = Command::new(program::path());
        command.arg(service.as_str()).env("RATE_LIMITS", "off");
        command.args(["--insecure", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"]);
        command.arg(folder.path().join("data"));
        let mut process = Process::start(&mut command, &folder.path().join("log"));
        let address = eventually(LIMIT, "the service listens", async || {
            let (ended, output) = (process.ended(), process.output());
            assert!(ended.is_none(), "it has ended: {output}");
            address(&output).ok_or(output)
        })
        .await;
        let place = Server::new(&client(), &format!("http://{address}"));
        Self { place, process, _folder: folder }
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// The address in the log line that says where a service listens.
fn address(output: &str) -> Option<String> {
    let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find_map(|line| line["address"].as_str().map(str::to_owned))
}

impl Drop for SingleService {
    fn drop(&mut self) {
        self.process.kill();
        let output = self.process.output();
        assert!(std::thread::panicking() || !output.contains("panicked"), "it has panicked: {output}");
    }
}
