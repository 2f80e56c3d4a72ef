//! A stack of its own for one test, from its start to its end: `mini-blog up`, or containers of the images that are to
//! be tried. What a test does to it meanwhile is in `breaking`.

mod breaking;
mod contained;
mod supervised;

pub use breaking::Backup;

use crate::blog::Blog;
use crate::containers::Images;
use crate::http::{Place, client};
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

/// How many stacks run at the same time: each is six processes or more.
static PLACES: Semaphore = Semaphore::const_new(2);

/// How a stack is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    without: Vec<ServiceName>,
    environment: Vec<(String, String)>,
    files: Vec<(String, String)>,
}

/// A running stack. Dropping it ends all its processes, and fails the test if one of them has panicked, or,
/// in a container, died by itself.
#[derive(Debug)]
pub struct Stack {
    keeper: Keeper,
    /// Nothing once it has been decided that it stays.
    folder: Option<TempDir>,
    client: reqwest::Client,
    places: BTreeMap<ServiceName, Place>,
    admin: BTreeMap<ServiceName, Place>,
    front_door: Place,
    _place: SemaphorePermit<'static>,
}

/// What starts the services, and starts them again when they die.
#[derive(Debug)]
enum Keeper {
    Program(Supervised),
    Engine(Contained),
}

/// Where everything is.
#[derive(Debug)]
struct Addresses {
    front_door: String,
    /// Where each service is spoken to, and where its probes and metrics are.
    services: BTreeMap<ServiceName, [String; 2]>,
}

/// What is left of a stack when it has been ended.
#[derive(Debug)]
struct Remains {
    /// What was tested.
    what: String,
    /// Everything that was written.
    output: String,
    /// The end of it.
    last: String,
    /// Which services have died without the test's doing.
    died: Vec<ServiceName>,
}

/// How everything ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code: the first that is not 0, where there are several; nothing where a signal ended it.
    pub code: Option<i32>,
    /// How long it took.
    pub took: Duration,
}

impl Setup {
    /// Everything, as it is by default.
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

    /// Starts it and waits until all is ready.
    pub async fn start(self) -> Stack {
        let place = PLACES.acquire().await.expect("never closed");
        self.start_beside(place).await
    }

    async fn start_beside(self, place: SemaphorePermit<'static>) -> Stack {
        let folder = tempfile::Builder::new().prefix("mini-blog-test-").tempdir().expect("a folder");
        for (name, text) in &self.files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let keeper = match Images::chosen() {
            None => Keeper::Program(Supervised::new(self, folder.path())),
            Some(images) => Keeper::Engine(Contained::new(images, self, folder.path()).await),
        };
        let client = client();
        let mut stack = Stack {
            keeper,
            folder: Some(folder),
            places: BTreeMap::new(),
            admin: BTreeMap::new(),
            front_door: Place::new(&client, ""),
            client,
            _place: place,
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

    /// Two that run at the same time.
    pub async fn two() -> (Self, Self) {
        // Both places at once: two tests that hold one each would wait for each other for ever.
        let mut places = PLACES.acquire_many(2).await.expect("never closed");
        let place = places.split(1).expect("there are two");
        let setup = Setup::new().without(ServiceName::Frontend);
        tokio::join!(setup.clone().start_beside(places), setup.start_beside(place))
    }

    /// Starts everything (again) and waits until all is ready. The public address stays the same.
    pub async fn up(&mut self) {
        let addresses = match &mut self.keeper {
            Keeper::Program(program) => program.up().await,
            Keeper::Engine(containers) => containers.up().await,
        };
        let place = |url: &str| Place::new(&self.client, url);
        let all = addresses.services.iter();
        (self.places, self.admin) =
            all.map(|(name, [url, admin])| ((*name, place(url)), (*name, place(admin)))).unzip();
        self.front_door = place(&addresses.front_door);
    }

    /// The service's own address.
    pub fn at(&self, service: ServiceName) -> &Place {
        self.places.get(&service).unwrap_or_else(|| panic!("there is no {service}"))
    }

    /// Where the service's probes and metrics are.
    pub fn admin(&self, service: ServiceName) -> &Place {
        self.admin.get(&service).unwrap_or_else(|| panic!("there is no {service}"))
    }

    /// The public address.
    pub fn front_door(&self) -> &Place {
        &self.front_door
    }

    /// The blog, service by service.
    pub fn blog(&self) -> Blog {
        let place = |service| self.at(service).clone();
        Blog {
            posts: place(ServiceName::Posts),
            comments: place(ServiceName::Comments),
            query: place(ServiceName::Query),
        }
    }

    /// The blog as the world sees it.
    pub fn public_blog(&self) -> Blog {
        let place = || self.front_door.clone();
        Blog { posts: place(), comments: place(), query: place() }
    }

    /// The operator's token, or the secret of a service.
    pub fn secret(&self, name: &str) -> String {
        let secret = match &self.keeper {
            Keeper::Program(program) => program.secret(name),
            Keeper::Engine(containers) => containers.secret(name),
        };
        secret.unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Why a service is not ready, as an operator is told; nothing where it is ready.
    pub async fn not_ready(&self, service: ServiceName) -> Option<String> {
        match &self.keeper {
            Keeper::Program(program) => program.not_ready(service).await,
            Keeper::Engine(containers) => containers.not_ready(service).await,
        }
    }

    /// The service's process; nothing while it does not run.
    pub fn pid(&self, service: ServiceName) -> Option<u32> {
        self.pids().get(&service).copied()
    }

    /// The processes of all services that run.
    pub fn pids(&self) -> BTreeMap<ServiceName, u32> {
        match &self.keeper {
            Keeper::Program(program) => program.pids(),
            Keeper::Engine(containers) => containers.pids(),
        }
    }

    /// Everything that the services have written so far.
    pub fn output(&self) -> String {
        match &self.keeper {
            Keeper::Program(program) => program.output(),
            Keeper::Engine(containers) => containers.output(),
        }
    }

    /// The folder that the store of a service is in.
    fn data(&self, service: ServiceName) -> PathBuf {
        match &self.keeper {
            Keeper::Program(program) => program.data().to_owned(),
            Keeper::Engine(containers) => containers.data(service),
        }
    }

    /// The program `mini-blog` that runs this stack, for tests of the program itself.
    fn program(&self) -> &Supervised {
        match &self.keeper {
            Keeper::Program(program) => program,
            Keeper::Engine(_) => panic!("the program `mini-blog` has no part in containers"),
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
        let Remains { what, output, last, died } = match &mut self.keeper {
            Keeper::Program(program) => program.end(),
            Keeper::Engine(containers) => containers.end(),
        };
        let sound = !output.contains("panicked at") && died.is_empty();
        if sound && !std::thread::panicking() {
            return;
        }
        let kept = self.folder.take().map(TempDir::keep).unwrap_or_default();
        eprintln!("tested: {what}; the data is kept in {}; the last lines:", kept.display());
        eprintln!("{last}");
        assert!(sound || std::thread::panicking(), "a process has panicked, or died by itself: {died:?}");
    }
}

/// A port of this machine, and the `HOST:PORT` by which the services of every stack reach it.
pub async fn listen() -> (TcpListener, String) {
    let (address, host) = match Images::chosen() {
        None => ("127.0.0.1:0", "127.0.0.1"),
        Some(_) => ("0.0.0.0:0", contained::MACHINE),
    };
    let listener = TcpListener::bind(address).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, format!("{host}:{port}"))
}

/// What a command has printed.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
