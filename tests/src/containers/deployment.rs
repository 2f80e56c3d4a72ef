//! The containers on a network of their own, as their manifests describe them.

use super::engine::{Engine, said};
use super::network::Network;
use super::{Container, Containers};
use crate::blog::Blog;
use crate::http::{Place, client};
use futures_util::future::join_all;
use serde_json::Value;
use shared::ServiceName;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use test_support::ports;
use test_support::within;

/// How long a start may take: what a startup probe grants.
const START: Duration = Duration::from_secs(60);
/// After how long without readiness it is asked whether the container still runs.
const LOOK: Duration = Duration::from_secs(1);
/// How many of its last lines each container shows when a test fails.
const SHOWN_LINES: usize = 15;

/// Where the containers' data is.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In the engine's own volumes, one for each claim.
    Volumes,
    /// In a folder of this machine, with a folder in it for each claim.
    Folder(PathBuf),
}

/// The containers, and what they share.
#[derive(Debug)]
pub struct Deployment {
    /// The engine that runs them.
    pub engine: Engine,
    /// What the manifests say, service by service.
    pub manifests: Containers,
    /// The network that they are on.
    pub network: Network,
    storage: Storage,
    /// What `docker run` is told about every container besides.
    besides: Vec<String>,
    /// The port of this machine that leads to the website.
    port: u16,
}

/// How a container ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Its exit code.
    pub code: i64,
    /// How long it took from SIGTERM.
    pub took: Duration,
}

impl Deployment {
    /// Makes the network; nothing runs yet. The name begins everybody's.
    pub async fn prepare(engine: Engine, name: &str, manifests: Containers, storage: Storage) -> Self {
        let network = Network::create(&engine, name).await;
        Self { engine, manifests, network, storage, besides: Vec::new(), port: ports::free(1)[0] }
    }

    /// Tells `docker run` more about every container that is launched from now on.
    pub fn tell(&mut self, flag: String) {
        self.besides.push(flag);
    }

    /// Which services there are.
    pub fn services(&self) -> impl Iterator<Item = ServiceName> + use<'_> {
        self.manifests.keys().copied()
    }

    /// The name of a service's container.
    pub fn name(&self, service: ServiceName) -> String {
        format!("{}-{service}", self.network.name)
    }

    /// What stands for a claim: a folder of this machine, or a volume.
    pub fn store(&self, claim: &str) -> String {
        match &self.storage {
            Storage::Volumes => format!("{}-{claim}", self.network.name),
            Storage::Folder(folder) => folder.join(claim).to_str().expect("a path in UTF-8").to_owned(),
        }
    }

    /// Makes a store ready to be mounted where it is not yet.
    async fn provide(&self, container: &Container, store: &str) {
        match &self.storage {
            Storage::Volumes => {
                self.engine.run(&["volume", "create", &self.engine.label(), store]).await;
            }
            // The volume's owner is the pod's group, as a cluster sees to it.
            Storage::Folder(_) => std::fs::create_dir_all(store)
                .and_then(|()| {
                    std::os::unix::fs::chown(store, Some(container.user.0), Some(container.user.1))
                })
                .unwrap_or_else(|e| panic!("{store}: {e}")),
        }
    }

    /// What `docker run` is told about every container like this one; names, addresses and ports are its own.
    pub fn flags(&self, container: &Container) -> Vec<String> {
        let mut flags = vec![self.engine.label(), format!("--network={}", self.network.name)];
        flags.extend(container.walls.iter().cloned());
        flags.extend(container.environment.iter().map(|(name, value)| format!("--env={name}={value}")));
        flags.extend(self.besides.iter().cloned());
        flags
    }

    /// Makes a service's container anew and starts it. What is in its volumes stays.
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
        // One command takes one after the other: older engines (20.10) count a network's containers wrongly where two
        // join it at the same moment, and then never let go of it.
        let names: Vec<_> = self.services().map(|service| self.name(service)).collect();
        let args: Vec<_> = ["start"].into_iter().chain(names.iter().map(String::as_str)).collect();
        self.engine.run(&args).await;
        join_all(self.services().map(|service| self.until_ready(service))).await;
    }

    /// Stops all at once; gives back how each ended.
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
    }

    /// Ends a container with SIGKILL. It stays down.
    pub async fn kill(&self, service: ServiceName) {
        self.engine.run(&["kill", &self.name(service)]).await;
    }

    /// Ends a container with SIGTERM, as a cluster does; the engine kills it after what the manifest grants.
    pub async fn stop(&self, service: ServiceName) -> Ended {
        let (name, grace) = (self.name(service), self.manifests[&service].grace.to_string());
        let begun = Instant::now();
        self.engine.run(&["stop", "--time", &grace, &name]).await;
        let took = begun.elapsed();
        let code = self.state(&name).await["ExitCode"].as_i64().expect("an exit code");
        Ended { code, took }
    }

    /// Takes away all containers; volumes stay.
    pub fn remove_all(&self) {
        let names: Vec<_> = self.services().map(|service| self.name(service)).collect();
        let names = names.iter().map(String::as_str);
        let removed = self.engine.output_now(&["rm", "--force"].into_iter().chain(names).collect::<Vec<_>>());
        assert!(thread::panicking() || removed.status.success(), "{}", said(&removed));
    }

    /// Takes away all containers and the network; volumes stay.
    pub fn end(&self) {
        self.remove_all();
        let removed = self.engine.output_now(&["network", "rm", &self.network.name]);
        assert!(thread::panicking() || removed.status.success(), "{}", said(&removed));
    }

    /// What the engine knows of a container.
    pub async fn inspect(&self, container: &str) -> Value {
        let text = self.engine.run(&["inspect", "--type", "container", container]).await;
        let all: Value = serde_json::from_str(&text).expect("JSON");
        all[0].clone()
    }

    /// Whether it runs, as which process, and how it ended.
    pub async fn state(&self, container: &str) -> Value {
        self.inspect(container).await["State"].clone()
    }

    /// What the engine knows of each container, as far as `docker inspect --format` is told.
    pub fn inspect_all(&self, format: &str) -> Vec<(ServiceName, String)> {
        let names: Vec<_> = self.services().map(|service| self.name(service)).collect();
        let ask = ["inspect", "--type", "container", "--format", format];
        let args: Vec<_> = ask.into_iter().chain(names.iter().map(String::as_str)).collect();
        let answers = self.engine.run_now(&args);
        self.services().zip(answers.lines().map(str::to_owned)).collect()
    }

    /// Where a service itself is.
    pub fn service(&self, service: ServiceName) -> Place {
        self.place(service, self.manifests[&service].ports["http"])
    }

    /// Where a service's probes and metrics are.
    pub fn admin(&self, service: ServiceName) -> Place {
        self.place(service, self.manifests[&service].probes)
    }

    fn place(&self, service: ServiceName, port: u16) -> Place {
        Place::new(&client(), &format!("http://{}:{port}", self.network.address(service)))
    }

    /// Waits until a service is ready by its own probe. It has one attempt.
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

    /// What a container has written.
    pub fn logs(&self, container: &str) -> String {
        said(&self.engine.output_now(&["logs", container]))
    }

    /// What each container has written, of those that there are.
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

    /// The website, as the world sees it.
    pub fn front_door(&self) -> Place {
        Place::new(&client(), &format!("http://127.0.0.1:{}", self.port))
    }

    /// The blog as the world sees it.
    pub fn blog(&self) -> Blog {
        let door = self.front_door();
        Blog { posts: door.clone(), comments: door.clone(), query: door }
    }
}

/// The last lines of each, for whoever has to find out what went wrong.
pub fn last_words(logs: &[(ServiceName, String)]) -> String {
    let mut words = String::new();
    for (service, log) in logs {
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        // Writing to a String cannot fail.
        let _ = writeln!(words, "--- {service}\n{last}");
    }
    words
}
