//! The services as containers, which the engine starts again when they die, as a cluster does.

use super::{Addresses, Ended, Outcome, Setup};
use crate::containers::Images;
use crate::containers::deployment::{Deployment, Storage, last_log_lines};
use crate::containers::engine::Engine;
use serde_json::Value;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The host name of this machine for the containers.
pub(super) const MACHINE: &str = "the-tests-machine";
/// The folder in the containers for files of the test.
const FILES: &str = "/files";
/// How long a probe may take, as in the manifests.
const PROBE: Duration = Duration::from_secs(1);

/// Counts the stacks of this process, so that each has its own names.
static STACKS: AtomicU32 = AtomicU32::new(0);

/// The containers of one stack.
#[derive(Debug)]
pub(super) struct Contained {
    deployment: Deployment,
    launched: bool,
    /// How many deaths of each service the test has caused.
    expected: Mutex<BTreeMap<ServiceName, u32>>,
}

impl Contained {
    /// No container runs yet. The data will be in this folder, with a subfolder for each claim.
    pub(super) async fn new(images: &Images, setup: Setup, folder: &Path) -> Self {
        let engine = Engine { run: images.run.clone(), host: None };
        let number = STACKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", images.run, std::process::id());
        let mut containers = images.containers.clone();
        containers.retain(|service, _| !setup.without.contains(service));
        let storage = Storage::Folder(folder.join("data"));
        let mut deployment = Deployment::prepare(engine, &name, containers, storage).await;
        deployment.add_run_flag("--restart=always".to_owned());
        deployment.add_run_flag(format!("--add-host={MACHINE}:{}", deployment.network.machine()));
        for (name, value) in &setup.environment {
            deployment.add_run_flag(format!("--env={name}={value}"));
        }
        for (name, _) in &setup.files {
            deployment.add_run_flag(format!("--volume={}:{FILES}/{name}:ro", folder.join(name).display()));
            deployment.add_run_flag(format!("--env={name}={FILES}/{name}"));
        }
        Self { deployment, launched: false, expected: Mutex::default() }
    }

    /// Creates the containers, or starts them again, and waits until all are ready.
    pub(super) async fn up(&mut self) -> Addresses {
        if self.launched {
            self.deployment.start_all().await;
        } else {
            self.deployment.launch_all().await;
            self.launched = true;
        }
        let places = |service| [self.deployment.service(service).url, self.deployment.admin(service).url];
        Addresses {
            front_door: self.deployment.front_door().url,
            services: self.deployment.services().map(|service| (service, places(service))).collect(),
        }
    }

    /// A value in the environment of the containers.
    pub(super) fn secret(&self, name: &str) -> Option<String> {
        self.deployment.manifests.values().find_map(|container| container.environment.get(name)).cloned()
    }

    /// Why a service is not ready, from its probe.
    pub(super) async fn not_ready(&self, service: ServiceName) -> Option<String> {
        match self.deployment.admin(service).get("/readyz").try_send_within(PROBE).await {
            Err(_) => Some("does not answer".to_owned()),
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => {
                let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                Some(problem["detail"].as_str().map_or_else(|| answer.to_string(), str::to_owned))
            }
        }
    }

    pub(super) async fn kill(&self, service: ServiceName) {
        self.deployment.kill(service).await;
    }

    pub(super) async fn start(&self, service: ServiceName) {
        self.deployment.start(service).await;
    }

    /// Stops it as a cluster does, and starts it again.
    pub(super) async fn restart(&self, service: ServiceName) {
        self.deployment.stop(service).await;
        self.deployment.start(service).await;
    }

    pub(super) fn pids(&self) -> BTreeMap<ServiceName, u32> {
        let pids = self.deployment.inspect_all("{{.State.Pid}}").into_iter();
        let pids = pids.map(|(service, pid)| (service, pid.parse().expect("a number")));
        // A container that is down has 0.
        pids.filter(|(_, pid)| *pid > 0).collect()
    }

    /// Announces that the test will kill a service once more.
    pub(super) fn expect_death(&self, service: ServiceName) {
        *self.expected.lock().expect("a count").entry(service).or_default() += 1;
    }

    /// The services that died by themselves and were started again.
    fn died(&self) -> Vec<ServiceName> {
        let expected = self.expected.lock().expect("a count");
        let deaths = self.deployment.inspect_all("{{.RestartCount}}").into_iter();
        let deaths = deaths.map(|(service, count)| (service, count.parse::<u32>().expect("a number")));
        let more = deaths.filter(|(service, count)| count > expected.get(service).unwrap_or(&0));
        more.map(|(service, _)| service).collect()
    }

    pub(super) fn output(&self) -> String {
        self.deployment.all_logs().into_iter().map(|(_, log)| log + "\n").collect()
    }

    /// The folder for the claim of a service.
    pub(super) fn data(&self, service: ServiceName) -> PathBuf {
        let claim = self.deployment.manifests[&service].volumes.first();
        let (claim, _) = claim.unwrap_or_else(|| panic!("{service} has no store"));
        self.deployment.store(claim).into()
    }

    pub(super) async fn kill_everything(&mut self) {
        self.deployment.kill_all().await;
    }

    /// SIGTERM to all at once, as when a cluster deletes the whole deployment.
    pub(super) async fn interrupt(&mut self) -> Ended {
        let begun = Instant::now();
        let codes = self.deployment.stop_all().await.into_iter().map(|ended| ended.code);
        let code = codes.fold(0, |first, code| if first == 0 { code } else { first });
        Ended { code: i32::try_from(code).ok(), took: begun.elapsed() }
    }

    /// Removes everything.
    pub(super) fn end(&mut self) -> Outcome {
        let logs = self.deployment.all_logs();
        // After a failed test the containers may be gone.
        let died = if std::thread::panicking() { Vec::new() } else { self.died() };
        self.deployment.end();
        Outcome {
            what: format!("images of {}", self.deployment.engine.run),
            last: last_log_lines(&logs),
            output: logs.into_iter().map(|(_, log)| log + "\n").collect(),
            died,
        }
    }
}
