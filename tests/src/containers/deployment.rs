//! The containers on a network, as their manifests describe them.

use super::engine::{Engine, said};
use super::network::{self, Network};
use super::{Container, Containers};
use crate::blog::Blog;
use crate::http::{Server, client};
use futures_util::future::join_all;
use serde_json::Value;
use shared::ServiceName;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use test_support::ports;
use test_support::within;

/// How long a start may take, as the startup probe allows.
const START: Duration = Duration::from_secs(60);
/// How long to wait for readiness before checking that the container still runs.
const LOOK: Duration = Duration::from_secs(1);
/// How many of its last lines a failed test prints of each container.
const SHOWN_LINES: usize = 15;

/// Where the data of the containers is.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In volumes of the engine, one for each claim.
    Volumes,
    /// In a folder of this machine, with a subfolder for each claim.
    Folder(PathBuf),
}

/// The containers, with their network and storage.
#[derive(Debug)]
pub struct Deployment {
    /// The engine that runs them.
    pub engine: Engine,
    /// The containers in the manifests, by service.
    pub manifests: Containers,
    /// Their network.
    pub network: Network,
    storage: Storage,
    /// Additional flags of `docker run` for every container.
    extra_flags: Vec<String>,
    /// The port of this machine that leads to the website.
    port: u16,
}

/// How a container ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Its exit code.
    pub code: i64,
    /// How long it took from SIGTERM to its end.
    pub took: Duration,
}

impl Deployment {
    /// Creates the network; no container runs yet. The name is the prefix of every container's.
    pub async fn prepare(engine: Engine, name: &str, manifests: Containers, storage: Storage) -> Self {
        let network = Network::create(&engine, name).await;
        Self { engine, manifests, network, storage, extra_flags: Vec::new(), port: ports::free(1)[0] }
    }

    /// Adds a flag of `docker run` for every container that is launched from now on.
    pub fn add_run_flag(&mut self, flag: String) {
        self.extra_flags.push(flag);
    }

    /// The services of this deployment.
    pub fn services(&self) -> impl Iterator<Item = ServiceName> + use<'_> {
        self.manifests.keys().copied()
    }

    /// The name of a service's container.
    pub fn name(&self, service: ServiceName) -> String {
        format!("{}-{service}", self.network.name)
    }

    /// The folder or the volume of a claim.
    pub fn store(&self, claim: &str) -> String {
        match &self.storage {
            Storage::Volumes => format!("{}-{claim}", self.network.name),
            Storage::Folder(folder) => folder.join(claim).to_str().expect("a path in UTF-8").to_owned(),
        }
    }

    /// Creates the folder or volume of a claim if it does not exist.
    async fn provide(&self, container: &Container, store: &str) {
        match &self.storage {
            Storage::Volumes => {
                self.engine.run(&["volume", "create", &self.engine.label(), store]).await;
            }
            // The owner of a volume is the pod's group, as in a cluster.
            Storage::Folder(_) => std::fs::create_dir_all(store)
                .and_then(|()| {
                    std::os::unix::fs::chown(store, Some(container.user.0), Some(container.user.1))
                })
                .unwrap_or_else(|e| panic!("{store}: {e}")),
        }
    }

    /// The flags of `docker run` for a container, without its name, address and ports.
    pub fn flags(&self, container: &Container) -> Vec<String> {
        let mut flags = vec![self.engine.label(), format!("--network={}", self.network.name)];
        flags.extend(container.security_flags.iter().cloned());
        flags.extend(container.environment.iter().map(|(name, value)| format!("--env={name}={value}")));
        flags.extend(self.extra_flags.iter().cloned());
        flags
    }

    /// Creates a service's container again and starts it. Its volumes stay.
    pub async fn launch(&self, service: ServiceName) {
        self.create(service).await;
        self.engine.run(&["start", &self.name(service)]).await;
    }

    async fn create(&self, service: ServiceName) {
        let container = &self.manifests[&service];
        let mut flags = self.flags(container);
        flags.push(format!("--name={}", self.name(service)));
        flags.push(format!("--ip={}", self.network.address(service)));
        flags.extend(container.aliases.iter().map(|alias| format!("--network-alias={alias}")));
        for (claim, path) in &container.volumes {
            let store = self.store(claim);
            self.provide(container, &store).await;
            flags.push(format!("--volume={store}:{path}"));
        }
        if service == ServiceName::Frontend {
            flags.push(format!("--publish=127.0.0.1:{}:{}", self.port, container.ports["http"]));
        }
        let flags = flags.iter().map(String::as_str);
        let args = ["create"].into_iter().chain(flags).chain([container.image.as_str()]);
        self.engine.run(&args.collect::<Vec<_>>()).await;
    }

    /// Launches all and waits until they are ready.
    pub async fn launch_all(&self) {
        join_all(self.services().map(|service| self.create(service))).await;
        self.start_all().await;
    }

    /// Starts all that have ended, and waits until they are ready.
    pub async fn start_all(&self) {
        // One command starts one after the other: older engines (20.10) miscount the containers of a network when two
        // join it at the same moment, and then never release it.
        let names: Vec<_> = self.services().map(|service| self.name(service)).collect();
        let args: Vec<_> = ["start"].into_iter().chain(names.iter().map(String::as_str)).collect();
        self.engine.run(&args).await;
        join_all(self.services().map(|service| self.until_ready(service))).await;
        network::until_settled().await;
    }

    /// Stops all at once; returns how each ended.
    pub async fn stop_all(&self) -> Vec<Ended> {
        join_all(self.services().map(|service| self.stop(service))).await
    }

    /// Ends all with SIGKILL, at once. They stay down.
    pub async fn kill_all(&self) {
        join_all(self.services().map(|service| self.kill(service))).await;
    }

    /// Starts a container that has ended, and waits until it is ready.
    pub async fn start(&self, service: ServiceName) {
        self.engine.run(&["start", &self.name(service)]).await;
        self.until_ready(service).await;
        network::until_settled().await;
    }

    /// Ends a container with SIGKILL. It stays down.
    pub async fn kill(&self, service: ServiceName) {
        self.engine.run(&["kill", &self.name(service)]).await;
    }

    /// Ends a container with SIGTERM, as a cluster does; the engine kills it after the grace period.
    pub async fn stop(&self, service: ServiceName) -> Ended {
        let (name, grace) = (self.name(service), self.manifests[&service].grace.to_string());
        let begun = Instant::now();
        self.engine.run(&["stop", "--time", &grace, &name]).await;
        let took = begun.elapsed();
        let code = self.state(&name).await["ExitCode"].as_i64().expect("an exit code");
        Ended { code, took }
    }

    /// Removes all containers; volumes stay.
    pub fn remove_all(&self) {
        let names: Vec<_> = self.services().map(|service| self.name(service)).collect();
        let names = names.iter().map(String::as_str);
        let removed = self.engine.output_now(&["rm", "--force"].into_iter().chain(names).collect::<Vec<_>>());
        assert!(thread::panicking() || removed.status.success(), "{}", said(&removed));
    }

    /// Removes all containers and the network; volumes stay.
    pub fn end(&self) {
        self.remove_all();
        let removed = self.engine.output_now(&["network", "rm", &self.network.name]);
        assert!(thread::panicking() || removed.status.success(), "{}", said(&removed));
    }

    /// `docker inspect` of a container.
    pub async fn inspect(&self, container: &str) -> Value {
        let text = self.engine.run(&["inspect", "--type", "container", container]).await;
        let all: Value = serde_json::from_str(&text).expect("JSON");
        all[0].clone()
    }

    /// Whether it runs, as which process, and how it ended.
    pub async fn state(&self, container: &str) -> Value {
        self.inspect(container).await["State"].clone()
    }

    /// `docker inspect --format` of each container.
    pub fn inspect_all(&self, format: &str) -> Vec<(ServiceName, String)> {
        let names: Vec<_> = self.services().map(|service| self.name(service)).collect();
        let ask = ["inspect", "--type", "container", "--format", format];
        let args: Vec<_> = ask.into_iter().chain(names.iter().map(String::as_str)).collect();
        let answers = self.engine.run_now(&args);
        self.services().zip(answers.lines().map(str::to_owned)).collect()
    }

    /// The address of a service.
    pub fn service(&self, service: ServiceName) -> Server {
        self.place(service, self.manifests[&service].ports["http"])
    }

    /// The address of a service's probes and metrics.
    pub fn admin(&self, service: ServiceName) -> Server {
        self.place(service, self.manifests[&service].probes)
    }

    fn place(&self, service: ServiceName, port: u16) -> Server {
        Server::new(&client(), &format!("http://{}:{port}", self.network.address(service)))
    }

    /// Waits until the probe of a service says that it is ready. The test fails if it restarts meanwhile.
    pub async fn until_ready(&self, service: ServiceName) {
        let (name, probes) = (self.name(service), self.admin(service));
        let (until, what) = (Instant::now() + START, format!("{service} is ready"));
        loop {
            let ready = within(LOOK, &what, async || {
                let answer = probes.get("/readyz").try_send().await?;
                if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
            });
            let Err(late) = ready.await else { return };
            let seen = self.inspect(&name).await;
            let runs = seen["State"]["Running"] == true && seen["RestartCount"] == 0;
            assert!(runs, "{service} has ended during its start:\n{}", self.logs(&name));
            assert!(Instant::now() < until, "{late}\n{}", self.logs(&name));
        }
    }

    /// The output of a container.
    pub fn logs(&self, container: &str) -> String {
        said(&self.engine.output_now(&["logs", container]))
    }

    /// The output of each container that exists.
    pub fn all_logs(&self) -> Vec<(ServiceName, String)> {
        let read = |service| {
            let output = self.engine.output_now(&["logs", &self.name(service)]);
            output.status.success().then(|| (service, said(&output)))
        };
        thread::scope(|scope| {
            let reading: Vec<_> = self.services().map(|service| scope.spawn(move || read(service))).collect();
            reading.into_iter().filter_map(|log| log.join().expect("its log")).collect()
        })
    }

    /// The public address of the website.
    pub fn front_door(&self) -> Server {
        Server::new(&client(), &format!("http://127.0.0.1:{}", self.port))
    }

    /// The blog through the front door.
    pub fn blog(&self) -> Blog {
        let door = self.front_door();
        Blog { posts: door.clone(), comments: door.clone(), query: door }
    }
}

/// The last lines of each container, for a failed test.
pub fn last_log_lines(logs: &[(ServiceName, String)]) -> String {
    let mut lines_of_all = String::new();
    for (service, log) in logs {
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        // Writing to a String cannot fail.
        let _ = writeln!(lines_of_all, "--- {service}\n{last}");
    }
    lines_of_all
}
