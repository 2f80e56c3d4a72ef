//! All services as processes of their own, with the misbehaving network between them.

use super::plan::{Edge, Road, SERVICES};
use super::process::{Process, Start};
use super::proxy::Proxy;
use crate::http::{Place, Request, client_with_idle};
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

/// How long writers and readers keep a connection that they do not use: what is open after them is a leak.
const IDLE: Duration = Duration::from_secs(2);
/// How long all may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// The running system.
#[derive(Debug)]
pub struct World {
    // Dropped in this order: processes end before their disks are unmounted and their folder is deleted.
    processes: BTreeMap<ServiceName, Process>,
    edges: BTreeMap<Edge, Proxy>,
    disks: BTreeMap<ServiceName, Disk>,
    no_disks: Option<String>,
    direct: BTreeMap<ServiceName, Place>,
    front: BTreeMap<ServiceName, Place>,
    operator_token: String,
    folder: Mutex<Option<TempDir>>,
    root: PathBuf,
}

impl World {
    /// Starts everything, with a small disk for each of these services where that can be mounted.
    pub async fn start(small_disks: &[ServiceName]) -> Self {
        let folder = tempfile::Builder::new().prefix("mini-blog-faults-").tempdir().expect("a folder");
        let root = folder.path().to_owned();
        let (disks, no_disks) = mount(&root, small_disks);
        let addresses = free_addresses();
        let mut edges = BTreeMap::new();
        for edge in Edge::all() {
            let to = if edge.road == Road::ToBus { EventBus } else { edge.service };
            edges.insert(edge, Proxy::start(addresses[&to]).await.expect("a port for a proxy"));
        }
        let secrets = Secrets::draw();
        let processes = SERVICES.into_iter().map(|service| {
            let environment = environment(service, &root, addresses[&service], &edges, &secrets);
            let log = root.join(format!("{service}.log"));
            (service, Process::keep(service, Start { program: program::path(), environment, log }))
        });
        let processes = processes.collect();
        let client = client_with_idle(IDLE);
        let direct = addresses.iter().map(|(s, at)| (*s, Place::new(&client, &format!("http://{at}"))));
        let public = edges.iter().filter(|(edge, _)| edge.road == Road::FromClients);
        let front = public.map(|(edge, proxy)| (edge.service, Place::new(&client, &proxy.url()))).collect();
        let (direct, operator_token) = (direct.collect(), secrets.operator);
        let world = Self {
            processes,
            edges,
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

    /// Waits until every service says that it is ready.
    pub async fn until_ready(&self, limit: Duration) {
        for service in SERVICES {
            eventually(limit, &format!("{service} is ready"), async || {
                holds(self.at(service).get("/readyz").try_send().await?, |answer| answer.status == 200)
            })
            .await;
        }
    }

    /// A service's own address.
    pub fn at(&self, service: ServiceName) -> &Place {
        &self.direct[&service]
    }

    /// A service's address as writers and readers know it.
    pub fn front(&self, service: ServiceName) -> &Place {
        self.front.get(&service).unwrap_or_else(|| panic!("nobody speaks to {service} but the bus"))
    }

    /// `GET` with the operator's token.
    pub fn operator_get(&self, service: ServiceName, path: &str) -> Request {
        self.at(service).get(path).token(&self.operator_token)
    }

    /// A service's process.
    pub fn process(&self, service: ServiceName) -> &Process {
        &self.processes[&service]
    }

    /// The road of an edge.
    pub fn edge(&self, edge: Edge) -> &Proxy {
        &self.edges[&edge]
    }

    /// The small disk of a service; an error says why it has none.
    pub fn disk(&self, service: ServiceName) -> Result<&Disk, String> {
        let why = || self.no_disks.clone().unwrap_or_else(|| format!("{service} has no disk of its own"));
        self.disks.get(&service).ok_or_else(why)
    }

    /// Where a service keeps its data.
    pub fn data(&self, service: ServiceName) -> PathBuf {
        data(&self.root, service)
    }

    /// Ends everything and keeps the data and the output; says where.
    pub async fn keep(&self) -> PathBuf {
        for process in self.processes.values() {
            process.down().await;
        }
        for service in self.disks.keys() {
            // What is on a small disk goes with it.
            let kept = self.root.join(format!("{service}.kept"));
            if let Err(error) = copy_folder(&self.data(*service), &kept) {
                eprintln!("the data of {service} could not be kept: {error}");
            }
        }
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        folder.map_or_else(|| self.root.clone(), TempDir::keep)
    }
}

fn data(root: &Path, service: ServiceName) -> PathBuf {
    root.join(service.as_str())
}

/// Mounts the small disks; where the first cannot be mounted, there are none, and it is said why.
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

/// What the services share with the bus, and the operator with all.
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
    edges: &BTreeMap<Edge, Proxy>,
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
    ];
    if service == EventBus {
        all.extend(ServiceName::PEERS.iter().map(secret));
    } else {
        let url = |road| edges[&Edge { road, service }].url();
        all.push(("EVENT_BUS_URL".to_owned(), url(Road::ToBus)));
        all.push(("ADVERTISE_URL".to_owned(), url(Road::FromBus)));
        all.push(secret(&service));
    }
    all
}
