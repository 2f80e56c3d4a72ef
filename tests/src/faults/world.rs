//! All services as processes, with a proxy in every connection.

use super::plan::{Direction, Link, SERVICES};
use super::process::{Process, Start};
use super::proxy::Proxy;
use crate::http::{Request, Server, client_with_idle};
use crate::program;
use fastrand::Rng;
use shared::ServiceName::{self, EventBus};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use test_support::disk::Disk;
use test_support::folders::copy_folder;
use test_support::ports;
use test_support::{eventually, holds};

/// How long writers and readers keep an unused connection: one that is open longer is a leak.
const IDLE: Duration = Duration::from_secs(2);
/// How long the services may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// The running system.
#[derive(Debug)]
pub struct World {
    // Dropped in this order: processes end before their disks are unmounted and their folder is deleted.
    processes: BTreeMap<ServiceName, Process>,
    links: BTreeMap<Link, Proxy>,
    disks: BTreeMap<ServiceName, Disk>,
    no_disks: Option<String>,
    direct: BTreeMap<ServiceName, Server>,
    front: BTreeMap<ServiceName, Server>,
    operator_token: String,
    folder: Mutex<Option<TempDir>>,
    root: PathBuf,
}

impl World {
    /// Starts everything, with a small disk for each of these services if one can be mounted.
    pub async fn start(small_disks: &[ServiceName]) -> Self {
        let folder = tempfile::Builder::new().prefix("mini-blog-faults-").tempdir().expect("a folder");
        let root = folder.path().to_owned();
        let (disks, no_disks) = mount(&root, small_disks);
        let addresses = free_addresses();
        let mut links = BTreeMap::new();
        for link in Link::all() {
            let to = if link.direction == Direction::ToBus { EventBus } else { link.service };
            links.insert(link, Proxy::start(addresses[&to]).await.expect("a port for a proxy"));
        }
        let secrets = Secrets::draw();
        let processes = SERVICES.into_iter().map(|service| {
            let environment = environment(service, &root, addresses[&service], &links, &secrets);
            let log = root.join(format!("{service}.log"));
            (service, Process::keep(service, Start { program: program::path(), environment, log }))
        });
        let processes = processes.collect();
        let client = client_with_idle(IDLE);
        let direct = addresses.iter().map(|(s, at)| (*s, Server::new(&client, &format!("http://{at}"))));
        let public = links.iter().filter(|(link, _)| link.direction == Direction::FromClients);
        let front = public.map(|(link, proxy)| (link.service, Server::new(&client, &proxy.url()))).collect();
        let (direct, operator_token) = (direct.collect(), secrets.operator);
        let world = Self {
            processes,
            links,
            disks,
            no_disks,
            direct,
            front,
            operator_token,
            folder: Mutex::new(Some(folder)),
            root,
        };
        world.until_ready(READY).await;
        world
    }

    /// Waits until every service is ready.
    pub async fn until_ready(&self, limit: Duration) {
        for service in SERVICES {
            eventually(limit, &format!("{service} is ready"), async || {
                holds(self.at(service).get("/readyz").try_send().await?, |answer| answer.status == 200)
            })
            .await;
        }
    }

    /// The address of a service, without a proxy.
    pub fn at(&self, service: ServiceName) -> &Server {
        &self.direct[&service]
    }

    /// The address of a service for writers and readers, through a proxy.
    pub fn front(&self, service: ServiceName) -> &Server {
        self.front.get(&service).unwrap_or_else(|| panic!("only the bus uses {service}"))
    }

    /// `GET` with the operator's token.
    pub fn operator_get(&self, service: ServiceName, path: &str) -> Request {
        self.at(service).get(path).token(&self.operator_token)
    }

    /// A service's process.
    pub fn process(&self, service: ServiceName) -> &Process {
        &self.processes[&service]
    }

    /// The proxy of a link.
    pub fn link(&self, link: Link) -> &Proxy {
        &self.links[&link]
    }

    /// The small disk of a service; an error says why it has none.
    pub fn disk(&self, service: ServiceName) -> Result<&Disk, String> {
        let why = || self.no_disks.clone().unwrap_or_else(|| format!("{service} has no disk of its own"));
        self.disks.get(&service).ok_or_else(why)
    }

    /// The data folder of a service.
    pub fn data(&self, service: ServiceName) -> PathBuf {
        data(&self.root, service)
    }

    /// Ends everything and keeps the data and the output; returns their folder.
    pub async fn keep(&self) -> PathBuf {
        for process in self.processes.values() {
            process.down().await;
        }
        for service in self.disks.keys() {
            // A small disk is lost when it is unmounted.
            let kept = self.root.join(format!("{service}.kept"));
            if let Err(error) = copy_folder(&self.data(*service), &kept) {
                eprintln!("cannot keep the data of {service}: {error}");
            }
        }
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        folder.map_or_else(|| self.root.clone(), TempDir::keep)
    }
}

fn data(root: &Path, service: ServiceName) -> PathBuf {
    root.join(service.as_str())
}

/// Mounts the small disks; the second value says why there are none.
fn mount(root: &Path, services: &[ServiceName]) -> (BTreeMap<ServiceName, Disk>, Option<String>) {
    let mut disks = BTreeMap::new();
    for &service in services {
        let path = data(root, service);
        std::fs::create_dir_all(&path).expect("a folder for data");
        match Disk::mount(&path) {
            Ok(disk) => drop(disks.insert(service, disk)),
            Err(why) => return (disks, Some(format!("no small disk can be mounted: {why}"))),
        }
    }
    (disks, None)
}

fn free_addresses() -> BTreeMap<ServiceName, SocketAddr> {
    let addresses = ports::free(SERVICES.len()).into_iter().map(|port| ([127, 0, 0, 1], port).into());
    SERVICES.into_iter().zip(addresses).collect()
}

/// The secrets of the services, and the operator's token.
struct Secrets {
    peers: BTreeMap<ServiceName, String>,
    operator: String,
}

impl Secrets {
    fn draw() -> Self {
        let mut dice = Rng::new();
        let mut secret = || format!("{:032x}", dice.u128(..));
        Self { peers: ServiceName::PEERS.into_iter().map(|s| (s, secret())).collect(), operator: secret() }
    }
}

fn environment(
    service: ServiceName,
    root: &Path,
    address: SocketAddr,
    links: &BTreeMap<Link, Proxy>,
    secrets: &Secrets,
) -> Vec<(String, String)> {
    let secret =
        |s: &ServiceName| (format!("{}_SECRET", s.as_str().to_uppercase()), secrets.peers[s].clone());
    let mut all = vec![
        ("LISTEN".to_owned(), address.to_string()),
        ("DATA_DIR".to_owned(), data(root, service).to_string_lossy().into_owned()),
        ("LOG_FORMAT".to_owned(), "text".to_owned()),
        ("MINI_BLOG_SUPERVISED".to_owned(), "1".to_owned()),
        ("OPERATOR_TOKEN".to_owned(), secrets.operator.clone()),
        ("RATE_LIMITS".to_owned(), "off".to_owned()),
    ];
    if service == EventBus {
        all.extend(ServiceName::PEERS.iter().map(secret));
    } else {
        let url = |direction| links[&Link { direction, service }].url();
        all.push(("EVENT_BUS_URL".to_owned(), url(Direction::ToBus)));
        all.push(("ADVERTISE_URL".to_owned(), url(Direction::FromBus)));
        all.push(secret(&service));
    }
    all
}
