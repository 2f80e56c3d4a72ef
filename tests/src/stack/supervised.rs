//! `mini-blog up`: the services as processes of the program.

use super::{Addresses, Ended, Outcome, Setup, said};
use crate::program;
use rustix::process::Signal;
use serde::Deserialize;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use test_support::processes::{self, Process};
use test_support::{LIMIT, eventually, holds};

/// How long a start may take.
const START: Duration = Duration::from_secs(60);
/// How many lines of its output a failed test prints.
const SHOWN_LINES: usize = 60;

/// The part of `stack.json` that tests need.
#[derive(Debug, Clone, Deserialize)]
struct StackFile {
    pid: u32,
    address: String,
    ready: bool,
    services: BTreeMap<ServiceName, Entry>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    url: String,
    admin: String,
    pid: Option<u32>,
}

/// The program and its settings.
#[derive(Debug)]
pub(super) struct Supervised {
    program: PathBuf,
    setup: Setup,
    data: PathBuf,
    /// The port of the site, once it has one.
    port: Option<String>,
    up: Option<Process>,
}

impl Supervised {
    /// Nothing runs yet. The data will be in `data` in this folder.
    pub(super) fn new(setup: Setup, folder: &Path) -> Self {
        Self { program: program::path(), setup, data: folder.join("data"), port: None, up: None }
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    fn folder(&self) -> &Path {
        self.data.parent().unwrap_or(&self.data)
    }

    pub(super) fn path_and_folder(&self) -> (&Path, &Path) {
        (&self.program, self.folder())
    }

    fn up_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["up", "--ports", "free", "--data-dir"]).arg(&self.data);
        // Open pages keep their address.
        command.args(self.port.iter().flat_map(|port| ["--port", port]));
        command.args(self.setup.without.iter().flat_map(|s| ["--without", s.as_str()]));
        command.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        command.envs(self.setup.files.iter().map(|(name, _)| (name, self.folder().join(name))));
        command.current_dir(program::root()).stdin(Stdio::null());
        command
    }

    /// Runs `mini-blog up` (again) and waits until all is ready.
    pub(super) async fn up(&mut self) -> Addresses {
        assert!(self.up.is_none(), "it runs");
        let up = Process::start(&mut self.up_command(), &self.log_path());
        let (pid, data) = (up.id(), self.data.clone());
        let up = self.up.insert(up);
        let file = eventually(START, "the stack is ready", async || {
            let ended = up.ended();
            assert!(ended.is_none(), "mini-blog up has ended by itself: {ended:?}");
            let file = read_file(&data).filter(|file| file.pid == pid).ok_or("no stack.json of it")?;
            if file.ready { Ok(file) } else { Err(format!("not ready: {file:?}")) }
        })
        .await;
        self.port = file.address.rsplit(':').next().map(str::to_owned);
        let services = file.services.into_iter().map(|(name, entry)| (name, [entry.url, entry.admin]));
        Addresses { front_door: file.address, services: services.collect() }
    }

    /// A second `up` on the same data folder, as far as it gets.
    pub(super) async fn second_up(&self) -> Output {
        let mut command = self.up_command();
        tokio::task::spawn_blocking(move || command.output().expect("mini-blog starts"))
            .await
            .expect("no panic")
    }

    /// A value of `secrets.env`.
    pub(super) fn secret(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.data.join("secrets.env")).expect("the secrets");
        let value = text.lines().filter_map(|line| line.split_once('=')).find(|(n, _)| *n == name);
        value.map(|(_, value)| value.to_owned())
    }

    /// Runs `mini-blog` with these arguments on this stack.
    pub(super) async fn cli(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(args).arg("--data-dir").arg(&self.data).stdin(Stdio::null());
        command.output().await.expect("mini-blog starts")
    }

    /// `mini-blog kill`, `start` or `restart`.
    pub(super) async fn order(&self, verb: &str, service: ServiceName) {
        let output = self.cli(&[verb, service.as_str()]).await;
        assert!(output.status.success(), "mini-blog {verb} {service}: {}", said(&output));
        // `stack.json` may follow a moment after the answer.
        let (what, runs) = (format!("stack.json says whether {service} runs"), verb != "kill");
        eventually(LIMIT, &what, async || holds(self.pids(), |pids| pids.contains_key(&service) == runs))
            .await;
    }

    /// Why a service is not ready, from `mini-blog status`.
    pub(super) async fn not_ready(&self, service: ServiceName) -> Option<String> {
        let status = said(&self.cli(&["status"]).await);
        let row = status.lines().find(|line| line.starts_with(service.as_str()));
        let row = row.unwrap_or_else(|| panic!("{service} has no row: {status}"));
        let ready = row.contains("  yes  ");
        assert!(ready || row.contains("  no  "), "{status}");
        let reason = format!("{service} is not ready: ");
        let why = status.lines().find_map(|line| line.strip_prefix(&reason));
        (!ready).then(|| why.unwrap_or(row).to_owned())
    }

    pub(super) fn pids(&self) -> BTreeMap<ServiceName, u32> {
        let services = read_file(&self.data).map(|file| file.services).unwrap_or_default();
        services.into_iter().filter_map(|(name, entry)| Some((name, entry.pid?))).collect()
    }

    pub(super) fn supervisor(&self) -> Option<u32> {
        self.up.as_ref().map(Process::id)
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_file_name("up.log")
    }

    pub(super) fn output(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The supervisor first, so that no service is started again.
    pub(super) fn kill_everything(&mut self) {
        let mut up = self.up.take().expect("it runs");
        let pids = self.pids();
        up.kill();
        for &pid in pids.values() {
            processes::send(pid, Signal::KILL);
        }
    }

    /// Ctrl-C.
    pub(super) async fn interrupt(&mut self) -> Ended {
        let (mut up, started) = (self.up.take().expect("it runs"), Instant::now());
        processes::send(up.id(), Signal::INT);
        let status = up.end().await;
        Ended { code: status.code(), took: started.elapsed() }
    }

    /// Ends everything at once.
    pub(super) fn end(&mut self) -> Outcome {
        // Only while it runs: the ids of ended processes are used again.
        if self.up.is_some() {
            self.kill_everything();
        }
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        Outcome { what: self.program.display().to_string(), output, last, died: Vec::new() }
    }
}

fn read_file(data: &Path) -> Option<StackFile> {
    serde_json::from_slice(&fs::read(data.join("stack.json")).ok()?).ok()
}
