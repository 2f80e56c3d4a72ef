//! A stack for one test, from its start to its end: `mini-blog up`, or containers of the images under test. How a test
//! breaks it is in `breaking`.

mod breaking;
mod contained;
mod supervised;

pub use breaking::Backup;

use crate::blog::Blog;
use crate::containers::Images;
use crate::http::{Server, client};
use contained::Contained;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use supervised::Supervised;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many stacks run at the same time: each has six processes or more.
static PERMITS: Semaphore = Semaphore::const_new(2);

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct Setup {
    without: Vec<ServiceName>,
    environment: Vec<(String, String)>,
    files: Vec<(String, String)>,
    /// Where the folder of the stack is made.
    parent: PathBuf,
}

/// A running stack. Dropping it ends all its processes, and fails the test if one of them has panicked or, in a
/// container, died by itself.
#[derive(Debug)]
pub struct Stack {
    runner: Runner,
    /// Nothing once the folder is to be kept.
    folder: Option<TempDir>,
    client: reqwest::Client,
    servers: BTreeMap<ServiceName, Server>,
    admin: BTreeMap<ServiceName, Server>,
    front_door: Server,
    _permit: SemaphorePermit<'static>,
}

/// The program or the engine, which starts the services again when they die.
#[derive(Debug)]
enum Runner {
    Program(Supervised),
    Engine(Contained),
}

/// The addresses of a stack.
#[derive(Debug)]
struct Addresses {
    front_door: String,
    /// The address of each service, and of its probes and metrics.
    services: BTreeMap<ServiceName, [String; 2]>,
}

/// What a stack reports at its end.
#[derive(Debug)]
struct Outcome {
    /// The program or the images.
    what: String,
    /// All output.
    output: String,
    /// The last lines of the output.
    last: String,
    /// The services that died by themselves.
    died: Vec<ServiceName>,
}

/// How a stack ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code: the first that is not 0 of several; nothing after a signal.
    pub code: Option<i32>,
    /// How long it took.
    pub took: Duration,
}

impl Default for Setup {
    /// Tests write faster than one client may. Those of the limits turn them on.
    fn default() -> Self {
        let environment = vec![("RATE_LIMITS".to_owned(), "off".to_owned())];
        Self { without: Vec::new(), environment, files: Vec::new(), parent: std::env::temp_dir() }
    }
}

impl Setup {
    /// All services, with default settings, except that one client may take all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves a service out.
    pub fn without(mut self, service: ServiceName) -> Self {
        self.without.push(service);
        self
    }

    /// Sets an environment variable of every service.
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets an environment variable of every service to the path of a file with this text.
    pub fn with_file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Stores all data below this folder, which must live longer.
    pub fn below(mut self, parent: &Path) -> Self {
        parent.clone_into(&mut self.parent);
        self
    }

    /// Starts it and waits until all is ready.
    pub async fn start(self) -> Stack {
        let permit = PERMITS.acquire().await.expect("never closed");
        self.start_with(permit).await
    }

    async fn start_with(self, permit: SemaphorePermit<'static>) -> Stack {
        let folder = tempfile::Builder::new().prefix("mini-blog-test-").tempdir_in(&self.parent);
        let folder = folder.expect("a folder");
        for (name, text) in &self.files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let runner = match Images::chosen() {
            None => Runner::Program(Supervised::new(self, folder.path())),
            Some(images) => Runner::Engine(Contained::new(images, self, folder.path()).await),
        };
        let client = client();
        let mut stack = Stack {
            runner,
            folder: Some(folder),
            servers: BTreeMap::new(),
            admin: BTreeMap::new(),
            front_door: Server::new(&client, ""),
            client,
            _permit: permit,
        };
        stack.up().await;
        stack
    }
}

impl Stack {
    /// The services and the site.
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    /// The services alone, for tests that need no site.
    pub async fn services() -> Self {
        Setup::new().without(ServiceName::Frontend).start().await
    }

    /// Two stacks at the same time.
    pub async fn two() -> (Self, Self) {
        // Both permits at once: two tests with one each would wait for each other for ever.
        let mut permits = PERMITS.acquire_many(2).await.expect("never closed");
        let permit = permits.split(1).expect("there are two");
        let setup = Setup::new().without(ServiceName::Frontend);
        tokio::join!(setup.clone().start_with(permits), setup.start_with(permit))
    }

    /// Starts everything (again) and waits until all is ready. The public address stays the same.
    pub async fn up(&mut self) {
        let addresses = match &mut self.runner {
            Runner::Program(program) => program.up().await,
            Runner::Engine(containers) => containers.up().await,
        };
        let server = |url: &str| Server::new(&self.client, url);
        let all = addresses.services.iter();
        (self.servers, self.admin) =
            all.map(|(name, [url, admin])| ((*name, server(url)), (*name, server(admin)))).unzip();
        self.front_door = server(&addresses.front_door);
    }

    /// The address of a service.
    pub fn at(&self, service: ServiceName) -> &Server {
        self.servers.get(&service).unwrap_or_else(|| panic!("no {service} in this stack"))
    }

    /// The address of a service's probes and metrics.
    pub fn admin(&self, service: ServiceName) -> &Server {
        self.admin.get(&service).unwrap_or_else(|| panic!("no {service} in this stack"))
    }

    /// The public address.
    pub fn front_door(&self) -> &Server {
        &self.front_door
    }

    /// The blog, service by service.
    pub fn blog(&self) -> Blog {
        let server = |service| self.at(service).clone();
        Blog {
            posts: server(ServiceName::Posts),
            comments: server(ServiceName::Comments),
            query: server(ServiceName::Query),
        }
    }

    /// The blog through the front door.
    pub fn public_blog(&self) -> Blog {
        let server = || self.front_door.clone();
        Blog { posts: server(), comments: server(), query: server() }
    }

    /// The operator's token, or the secret of a service.
    pub fn secret(&self, name: &str) -> String {
        let secret = match &self.runner {
            Runner::Program(program) => program.secret(name),
            Runner::Engine(containers) => containers.secret(name),
        };
        secret.unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Why a service is not ready, as an operator sees it; nothing if it is ready.
    pub async fn not_ready(&self, service: ServiceName) -> Option<String> {
        match &self.runner {
            Runner::Program(program) => program.not_ready(service).await,
            Runner::Engine(containers) => containers.not_ready(service).await,
        }
    }

    /// The process id of a service; nothing while it is down.
    pub fn pid(&self, service: ServiceName) -> Option<u32> {
        self.pids().get(&service).copied()
    }

    /// The process ids of all running services.
    pub fn pids(&self) -> BTreeMap<ServiceName, u32> {
        match &self.runner {
            Runner::Program(program) => program.pids(),
            Runner::Engine(containers) => containers.pids(),
        }
    }

    /// The output of all services so far.
    pub fn output(&self) -> String {
        match &self.runner {
            Runner::Program(program) => program.output(),
            Runner::Engine(containers) => containers.output(),
        }
    }

    /// The process that keeps the services running; nothing for containers.
    pub fn supervisor(&self) -> Option<u32> {
        match &self.runner {
            Runner::Program(program) => program.supervisor(),
            Runner::Engine(_) => None,
        }
    }

    /// The database of a service.
    pub fn database(&self, service: ServiceName) -> PathBuf {
        self.data(service).join(format!("{service}.db"))
    }

    /// The folder with the store of a service.
    fn data(&self, service: ServiceName) -> PathBuf {
        match &self.runner {
            Runner::Program(program) => program.data().to_owned(),
            Runner::Engine(containers) => containers.data(service),
        }
    }

    /// The program `mini-blog` that runs this stack, for tests of the program itself.
    fn program(&self) -> &Supervised {
        match &self.runner {
            Runner::Program(program) => program,
            Runner::Engine(_) => panic!("containers do not use the program `mini-blog`"),
        }
    }

    /// The program that runs, and the folder in which its `./data` is.
    pub fn program_and_folder(&self) -> (&Path, &Path) {
        self.program().path_and_folder()
    }

    /// A second `up` on the same data folder, as far as it gets.
    pub async fn second_up(&self) -> Output {
        self.program().second_up().await
    }

    /// Runs `mini-blog` with these arguments on this stack.
    pub async fn cli(&self, args: &[&str]) -> Output {
        self.program().cli(args).await
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let Outcome { what, output, last, died } = match &mut self.runner {
            Runner::Program(program) => program.end(),
            Runner::Engine(containers) => containers.end(),
        };
        let sound = !output.contains("panicked at") && died.is_empty();
        if sound && !std::thread::panicking() {
            return;
        }
        let kept = self.folder.take().map(TempDir::keep).unwrap_or_default();
        eprintln!("tested: {what}; its data is in {}; the last lines:", kept.display());
        eprintln!("{last}");
        assert!(sound || std::thread::panicking(), "a process has panicked, or died by itself: {died:?}");
    }
}

/// A listening port of this machine, and the `HOST:PORT` by which services reach it.
pub async fn listen() -> (TcpListener, String) {
    let (address, host) = match Images::chosen() {
        None => ("127.0.0.1:0", "127.0.0.1"),
        Some(_) => ("0.0.0.0:0", contained::MACHINE),
    };
    let listener = TcpListener::bind(address).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, format!("{host}:{port}"))
}

/// Everything that a command has printed.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
