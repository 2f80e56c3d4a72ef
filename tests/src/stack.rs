//! A stack of its own for one test: `mini-blog up`, from its start to its end. What a test does to it meanwhile is
//! in `breaking`.

mod breaking;

pub use breaking::Backup;

use crate::blog::Blog;
use crate::eventually::eventually;
use crate::http::{Place, client};
use crate::processes;
use crate::program;
use rustix::process::Signal;
use serde::Deserialize;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many stacks run at the same time: each is seven processes.
static PLACES: Semaphore = Semaphore::const_new(2);
/// How long a start may take.
const START: Duration = Duration::from_secs(60);
/// How many lines of its output are shown when a test fails.
const SHOWN_LINES: usize = 60;

/// How a stack is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    without: Vec<ServiceName>,
    environment: Vec<(String, String)>,
}

/// The part of `stack.json` that is of interest.
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

/// A running stack. Dropping it ends all its processes, and fails the test if one of them has panicked.
#[derive(Debug)]
pub struct Stack {
    program: PathBuf,
    setup: Setup,
    /// Nothing once it has been decided that it stays.
    folder: Option<TempDir>,
    data: PathBuf,
    up: Option<Child>,
    client: reqwest::Client,
    places: BTreeMap<ServiceName, Place>,
    admin: BTreeMap<ServiceName, Place>,
    front_door: Place,
    _place: SemaphorePermit<'static>,
}

/// How `mini-blog up` ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; nothing where a signal ended it.
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

    /// Sets an environment variable of `up`, which the services inherit.
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until all is ready.
    pub async fn start(self) -> Stack {
        let place = PLACES.acquire().await.expect("never closed");
        self.start_beside(place).await
    }

    async fn start_beside(self, place: SemaphorePermit<'static>) -> Stack {
        let folder = tempfile::Builder::new().prefix("mini-blog-test-").tempdir().expect("a folder");
        let client = client();
        let mut stack = Stack {
            program: program::path(),
            setup: self,
            data: folder.path().join("data"),
            folder: Some(folder),
            up: None,
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

    /// Runs `mini-blog up` (again), without waiting for it.
    fn launch(&mut self) {
        assert!(self.up.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = self.up_command();
        command.stdout(log.try_clone().expect("the log file again")).stderr(log);
        self.up = Some(command.spawn().expect("mini-blog starts"));
    }

    fn up_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["up", "--ports", "free", "--data-dir"]).arg(&self.data);
        // Pages that are open go on at the same address.
        let port = self.front_door.url.rsplit(':').next().filter(|port| !port.is_empty());
        command.args(port.into_iter().flat_map(|port| ["--port", port]));
        command.args(self.setup.without.iter().flat_map(|s| ["--without", s.as_str()]));
        command.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(program::root()).stdin(Stdio::null());
        command
    }

    /// Runs `mini-blog up` (again) and waits until all is ready.
    pub async fn up(&mut self) {
        self.launch();
        let data = self.data.clone();
        let up = self.up.as_mut().expect("just launched");
        let pid = up.id();
        let file = eventually(START, "the stack is ready", async || {
            let ended = up.try_wait().expect("its state");
            assert!(ended.is_none(), "mini-blog up has ended by itself: {ended:?}");
            let file = read_file(&data).filter(|file| file.pid == pid).ok_or("no stack.json of it")?;
            if file.ready { Ok(file) } else { Err(format!("not ready: {file:?}")) }
        })
        .await;
        let place = |url: &str| Place::new(&self.client, url);
        self.places = file.services.iter().map(|(name, entry)| (*name, place(&entry.url))).collect();
        self.admin = file.services.iter().map(|(name, entry)| (*name, place(&entry.admin))).collect();
        self.front_door = place(&file.address);
    }

    /// The program that runs, and the folder in which its `./data` is.
    pub fn program_and_folder(&self) -> (&Path, &Path) {
        (&self.program, self.data.parent().unwrap_or(&self.data))
    }

    /// A second `up` on the same data folder, as far as it gets.
    pub async fn second_up(&self) -> Output {
        let mut command = self.up_command();
        tokio::task::spawn_blocking(move || command.output().expect("mini-blog starts"))
            .await
            .expect("no panic")
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

    /// A value of `secrets.env`.
    pub fn secret(&self, name: &str) -> String {
        let text = fs::read_to_string(self.data.join("secrets.env")).expect("the secrets");
        let value = text.lines().filter_map(|line| line.split_once('=')).find(|(n, _)| *n == name);
        value.unwrap_or_else(|| panic!("no {name} in secrets.env")).1.to_owned()
    }

    /// Runs `mini-blog` with these arguments on this stack.
    pub async fn cli(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(args).arg("--data-dir").arg(&self.data).stdin(Stdio::null());
        command.output().await.expect("mini-blog starts")
    }

    /// The service's process; nothing while it does not run.
    pub fn pid(&self, service: ServiceName) -> Option<u32> {
        read_file(&self.data)?.services.get(&service)?.pid
    }

    /// The processes of all services.
    pub fn pids(&self) -> BTreeMap<ServiceName, u32> {
        let services = read_file(&self.data).map(|file| file.services).unwrap_or_default();
        services.into_iter().filter_map(|(name, entry)| Some((name, entry.pid?))).collect()
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_file_name("up.log")
    }

    /// Everything that the stack has written so far.
    pub fn output(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn end(&mut self) {
        // Only what certainly runs: the ids of processes that ended are given to others.
        let Some(mut up) = self.up.take() else { return };
        let _ = up.kill();
        let _ = up.wait();
        for pid in self.pids().into_values() {
            processes::send(pid, Signal::KILL);
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.end();
        let output = self.output();
        let panicked = output.contains("panicked at");
        if !panicked && !std::thread::panicking() {
            return;
        }
        let kept = self.folder.take().map(TempDir::keep).unwrap_or_default();
        let lines: Vec<_> = output.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        eprintln!(
            "{} was tested; the data and the output are kept in {}; the last lines:",
            self.program.display(),
            kept.display()
        );
        eprintln!("{last}");
        assert!(!panicked || std::thread::panicking(), "a process has panicked");
    }
}

/// What a command has printed.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn read_file(data: &Path) -> Option<StackFile> {
    serde_json::from_slice(&fs::read(data.join("stack.json")).ok()?).ok()
}
