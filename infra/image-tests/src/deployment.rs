//! The six containers on a network of their own, as their manifests describe them.

use crate::engine::{Engine, said};
use crate::manifest::Container;
use serde_json::Value;
use shared::{ServiceName, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};
use system_tests::blog::Blog;
use system_tests::eventually;
use system_tests::http::{Place, client};

/// How long a start may take: what a startup probe grants.
const START: Duration = Duration::from_secs(60);
/// How many of its last lines each container shows when a test fails.
const SHOWN_LINES: usize = 15;

/// The containers, and what they share.
#[derive(Debug)]
pub struct Deployment {
    /// The engine that runs them.
    pub engine: Engine,
    /// What the manifests say.
    pub manifests: BTreeMap<ServiceName, Container>,
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
    /// Makes the network; nothing runs yet.
    pub async fn prepare(engine: Engine, manifests: BTreeMap<ServiceName, Container>) -> Self {
        // Asked for by number, so that it stays when the container is started again.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        engine.run(&["network", "create", &engine.label(), &engine.id]).await;
        Self { engine, manifests, port }
    }

    /// The name of a service's image.
    pub fn image(&self, service: ServiceName) -> String {
        format!("{}:{}", self.manifests[&service].image, self.engine.id)
    }

    /// The name of a service's container.
    pub fn name(&self, service: ServiceName) -> String {
        format!("{}-{service}", self.engine.id)
    }

    /// The name of the volume that stands for a claim.
    fn volume(&self, claim: &str) -> String {
        format!("{}-{claim}", self.engine.id)
    }

    /// What `docker run` is told about every container like this one; names and ports are its own.
    fn flags(&self, container: &Container) -> Vec<String> {
        let mut flags = vec![self.engine.label(), format!("--network={}", self.engine.id)];
        flags.extend(container.walls.iter().cloned());
        flags.extend(container.environment.iter().map(|(name, value)| format!("--env={name}={value}")));
        flags
    }

    /// Makes a service's container anew and starts it. What is in its volumes stays.
    pub async fn launch(&self, service: ServiceName) {
        let container = &self.manifests[&service];
        let mut flags = self.flags(container);
        flags.push(format!("--name={}", self.name(service)));
        flags.extend(container.aliases.iter().map(|alias| format!("--network-alias={alias}")));
        for (claim, path) in &container.volumes {
            let volume = self.volume(claim);
            self.engine.run(&["volume", "create", &self.engine.label(), &volume]).await;
            flags.push(format!("--volume={volume}:{path}"));
        }
        if service == ServiceName::Frontend {
            flags.push(format!("--publish=127.0.0.1:{}:{}", self.port, container.ports["http"]));
        }
        let image = self.image(service);
        let args =
            ["run", "--detach"].into_iter().chain(flags.iter().map(String::as_str)).chain([&image[..]]);
        self.engine.run(&args.collect::<Vec<_>>()).await;
    }

    /// Runs a container of a service that differs: these variables are set (or taken away), these flags are added.
    /// Gives back its name.
    pub async fn launch_another(
        &self,
        service: ServiceName,
        variables: &[(&str, Option<&str>)],
        more: &[&str],
    ) -> String {
        let mut container = self.manifests[&service].clone();
        for (name, value) in variables {
            match value {
                Some(value) => drop(container.environment.insert((*name).to_owned(), (*value).to_owned())),
                None => assert!(container.environment.remove(*name).is_some(), "{service} has no {name}"),
            }
        }
        let image = self.image(service);
        let flags = self.flags(&container);
        let flags = flags.iter().map(String::as_str).chain(more.iter().copied());
        let args = ["run", "--detach"].into_iter().chain(flags).chain([&image[..]]);
        self.engine.run(&args.collect::<Vec<_>>()).await
    }

    /// Launches one after the other and waits until each is ready; gives back how long each took.
    pub async fn launch_all(&self) -> BTreeMap<ServiceName, Duration> {
        let mut took = BTreeMap::new();
        for service in ServiceName::ALL {
            let begun = Instant::now();
            self.launch(service).await;
            self.until_ready(service).await;
            took.insert(service, begun.elapsed());
        }
        took
    }

    /// Starts a container that has ended, and waits until it is ready.
    pub async fn start(&self, service: ServiceName) {
        self.engine.run(&["start", &self.name(service)]).await;
        self.until_ready(service).await;
    }

    /// Ends a container with SIGKILL.
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
    pub async fn remove_all(&self) {
        for service in ServiceName::ALL {
            self.engine.run(&["rm", "--force", &self.name(service)]).await;
        }
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

    /// Waits until a container has ended; gives back its exit code.
    pub async fn until_ended(&self, container: &str) -> i64 {
        eventually(START, "the container ends by itself", async || {
            let state = self.state(container).await;
            let running = state["Running"] == true;
            if running {
                Err(self.logs(container).await)
            } else {
                Ok(state["ExitCode"].as_i64().unwrap_or(-1))
            }
        })
        .await
    }

    /// The address of a container on the private network, with this port.
    pub async fn place(&self, container: &str, port: u16) -> Place {
        let inspected = self.inspect(container).await;
        let address = &inspected["NetworkSettings"]["Networks"][&self.engine.id]["IPAddress"];
        let address = address.as_str().filter(|address| !address.is_empty());
        let address = address.unwrap_or_else(|| panic!("{container} does not run: {}", inspected["State"]));
        Place::new(&client(), &format!("http://{address}:{port}"))
    }

    /// Where a service itself is.
    pub async fn service(&self, service: ServiceName) -> Place {
        self.place(&self.name(service), self.manifests[&service].ports["http"]).await
    }

    /// Waits until a service is ready by its own probe.
    pub async fn until_ready(&self, service: ServiceName) {
        let name = self.name(service);
        let probes = self.place(&name, self.manifests[&service].probes).await;
        eventually(START, &format!("{service} is ready"), async || {
            if self.state(&name).await["Running"] != true {
                return Err(format!("it has ended: {}", self.logs(&name).await));
            }
            let answer = probes.get("/readyz").try_send().await?;
            if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
        })
        .await;
    }

    /// How much of its start was the service's own, in milliseconds: from when the engine says that the process runs
    /// (a few milliseconds after it does) to when its log says that it listens and is ready.
    pub async fn own_start(&self, service: ServiceName) -> i64 {
        let name = self.name(service);
        let moment = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
        let started = moment(&self.state(&name).await["StartedAt"]).expect("when it was started");
        let log = self.logs(&name).await;
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let steps = lines.filter(|line| line["message"] == "listening" || line["message"] == "ready");
        let last = steps.filter_map(|line| moment(&line["timestamp"])).max();
        last.expect("it says when it listens").ms_since(started)
    }

    /// What a container has written.
    pub async fn logs(&self, container: &str) -> String {
        said(&self.engine.output(&["logs", container]).await)
    }

    /// The last lines of all six, for whoever has to find out what went wrong.
    pub async fn last_words(&self) -> String {
        let mut words = String::new();
        for service in ServiceName::ALL {
            let log = self.logs(&self.name(service)).await;
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            // Writing to a String cannot fail.
            let _ = writeln!(words, "--- {service}\n{last}");
        }
        words
    }

    /// Runs `docker exec` in a service's container.
    pub async fn exec(&self, service: ServiceName, command: &[&str]) -> Output {
        let name = self.name(service);
        self.engine.output(&[&["exec", &name], command].concat()).await
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
