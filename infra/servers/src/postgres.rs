//! A PostgreSQL server in a folder of its own.
//!
//! The folder holds `data`, `password` (of the superuser `postgres`) and `postgres.log`. The server listens on the
//! loopback interface alone, without a Unix socket: the path of one may not be longer than 107 bytes. What it
//! acknowledges is on disk.

mod client;
mod programs;

pub use client::Client;
pub use programs::Programs;

use crate::account::Account;
use crate::child::Child;
use crate::files::{last_lines, log_since, open_log, password_in, remove_folder, write_private};
use crate::{Error, at, files, ports};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::net::TcpStream;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// How long it may take until it answers: after a crash it replays what the files lack.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long an earlier server in the same folder may take to end.
const EARLIER_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// How often another free port is tried.
const PORT_ATTEMPTS: usize = 5;

/// What the server says when the folder's earlier server, or a process of it, has not ended yet.
const EARLIER: [&str; 2] = ["\"postmaster.pid\" already exists", "pre-existing shared memory block"];
const PORT_TAKEN: &str = "could not bind";

/// What every server is started with. These come before those of [`Settings`], which therefore win.
const PARAMETERS: [(&str, &str); 9] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    // Each replica of a service holds eight.
    ("max_connections", "200"),
    ("log_checkpoints", "off"),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
];

/// Where and how a server runs.
#[derive(Debug, Clone)]
pub struct Settings {
    folder: PathBuf,
    port: Option<u16>,
    parameters: Vec<(String, String)>,
    is_scratch: bool,
}

impl Settings {
    /// Everything of the server is in this folder, which is created if it is missing.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), port: None, parameters: Vec::new(), is_scratch: false }
    }

    /// A new folder of temporary files, which is removed with the server.
    pub fn temporary() -> Self {
        Self::new(files::temporary("postgres")).scratch()
    }

    /// The port; without it one that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// A parameter of the server, as in `postgresql.conf`.
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder is removed when the server is dropped, or when this process ends.
    pub fn scratch(mut self) -> Self {
        self.is_scratch = true;
        self
    }
}

/// A server that ends when it is dropped, or with this process.
#[derive(Debug)]
pub struct Postgres {
    settings: Settings,
    programs: Programs,
    account: Account,
    port: u16,
    password: String,
    /// None after `stop` and `kill`.
    child: Option<Child>,
}

impl Postgres {
    /// Starts it, and waits until it answers. The first time its files are created.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let mut server = Self::prepare(settings, None)?;
        server.create_files(Self::initialise)?;
        server.run()?;
        Ok(server)
    }

    /// Starts a standby that replays what this server writes, under this name (for `synchronous_standby_names`). The
    /// first time it copies this server's files.
    pub fn start_standby(&self, settings: Settings, name: &str) -> Result<Self, Error> {
        let mut standby = Self::prepare(settings, Some(&self.password))?;
        standby.create_files(|standby, fresh| standby.copy_from(self, name, fresh))?;
        standby.run()?;
        Ok(standby)
    }

    /// Makes a standby a primary.
    pub fn promote(&self) -> Result<(), Error> {
        self.client().run("SELECT pg_promote()").map(drop)
    }

    /// Changes a parameter while it runs, and for good. What [`Settings::parameter`] sets wins.
    pub fn configure(&self, name: &str, value: &str) -> Result<(), Error> {
        let value = value.replace('\'', "''");
        self.client().run(&format!("ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf();")).map(drop)
    }

    fn prepare(settings: Settings, password: Option<&str>) -> Result<Self, Error> {
        let account = Account::for_postgres()?;
        let folder = &settings.folder;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        let folder = fs::canonicalize(folder).map_err(at(folder))?;
        let programs = Programs::find(&folder.join("data"))?;
        account.admit(&folder)?;
        account.check_reach(&folder)?;
        let file = folder.join("password");
        if let Some(password) = password {
            write_private(&file, password)?;
        }
        let password = password_in(&file)?;
        Ok(Self {
            port: 0,
            child: None,
            settings: Settings { folder, ..settings },
            programs,
            account,
            password,
        })
    }

    /// The superuser's URL of a database: `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// For databases, roles and statements of the superuser.
    pub fn client(&self) -> Client {
        Client::new(self.programs.psql(), self.url("postgres"))
    }

    /// Creates a database with a role of the same name that owns it, and returns the role's URL.
    pub fn create_database(&self, name: &str) -> Result<String, Error> {
        self.client().create_database(name, &files::random_password()?)
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
        self.settings.folder.join("postgres.log")
    }

    /// Fast shutdown: open transactions are rolled back, everything is written, connections are closed. Whether it
    /// ended within 30 s; if not, it was killed, and recovers at its next start.
    pub fn stop(&mut self) -> bool {
        self.child.take().is_none_or(|child| child.end(Signal::INT, STOP_LIMIT))
    }

    /// SIGKILL for all its processes, as in a crash.
    pub fn kill(&mut self) {
        if let Some(child) = self.child.take() {
            child.kill();
        }
    }

    /// Starts it after `stop` or `kill`, or anew if it runs, on the same port.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop();
        self.settings.port = Some(self.port);
        self.run()
    }

    /// Stops all its processes (SIGSTOP): connections stay, nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues after `pause`.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            child.signal(signal, true);
        }
    }

    fn data(&self) -> PathBuf {
        self.settings.folder.join("data")
    }

    /// Creates the files of a new server. An interrupted attempt leaves nothing that counts.
    fn create_files(&self, create: impl FnOnce(&Self, &Path) -> Result<(), Error>) -> Result<(), Error> {
        let (data, fresh) = (self.data(), self.settings.folder.join("data.new"));
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        remove_folder(&fresh)?;
        DirBuilder::new().mode(0o700).create(&fresh).map_err(at(&fresh))?;
        self.account.give(&fresh)?;
        create(self, &fresh)?;
        fs::rename(&fresh, &data).map_err(at(&data))?;
        let sync = |folder: &Path| fs::File::open(folder).and_then(|file| file.sync_all());
        sync(&self.settings.folder).map_err(at(&self.settings.folder))
    }

    fn initialise(&self, fresh: &Path) -> Result<(), Error> {
        let password = fresh.with_file_name("password.initdb");
        write_private(&password, &self.password)?;
        self.account.give(&password)?;
        let mut initdb = self.account.command(self.programs.initdb());
        client::clean(&mut initdb);
        initdb.args(["--locale=C", "--encoding=UTF8", "--data-checksums", "--auth=scram-sha-256"]);
        initdb.args(["--username=postgres", "--no-instructions"]);
        let mut with_password = OsString::from("--pwfile=");
        with_password.push(&password);
        initdb.arg(with_password).arg("--pgdata").arg(fresh).current_dir(fresh);
        let created = succeed("initdb", &mut initdb);
        fs::remove_file(&password).map_err(at(&password))?;
        created
    }

    fn copy_from(&self, primary: &Self, name: &str, fresh: &Path) -> Result<(), Error> {
        let mut copy = self.account.command(self.programs.program("pg_basebackup"));
        client::clean(&mut copy);
        let from = format!("host=127.0.0.1 port={} user=postgres application_name={name}", primary.port);
        copy.env("PGPASSWORD", &self.password).args([
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--dbname",
        ]);
        succeed("pg_basebackup", copy.arg(from).arg("--pgdata").arg(fresh).current_dir(fresh))
    }

    /// Starts the server process until one stays, and waits until that answers.
    fn run(&mut self) -> Result<(), Error> {
        let until = Instant::now() + EARLIER_LIMIT;
        let mut ports_left = if self.settings.port.is_some() { 1 } else { PORT_ATTEMPTS };
        loop {
            self.port = match self.settings.port {
                Some(port) => port,
                None => ports::free(1)?[0],
            };
            let (status, said) = match self.run_once()? {
                Started::Answers => return Ok(()),
                Started::Ended { status, said } => (status, said),
            };
            if said.contains(PORT_TAKEN) && ports_left > 1 {
                ports_left -= 1;
            } else if EARLIER.iter().any(|text| said.contains(text)) && Instant::now() < until {
                std::thread::sleep(PAUSE * 5);
            } else {
                let said = last_lines(&said);
                return Err(Error::Failed { program: "postgres", status: status.to_string(), said });
            }
        }
    }

    fn run_once(&mut self) -> Result<Started, Error> {
        let log = self.log();
        let (file, begin) = open_log(&log)?;
        let mut command = self.account.command(self.programs.postgres());
        client::clean(&mut command);
        command.current_dir(&self.settings.folder).arg("-D").arg(self.data());
        let own = PARAMETERS.iter().map(|(name, value)| format!("{name}={value}"));
        let given = self.settings.parameters.iter().map(|(name, value)| format!("{name}={value}"));
        for parameter in own.chain(given).chain([format!("port={}", self.port)]) {
            command.arg("-c").arg(parameter);
        }
        let scratch = self.settings.is_scratch.then_some(self.settings.folder.as_path());
        let mut child = Child::start("postgres", command, file, scratch)?;
        let until = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = child.ended() {
                return Ok(Started::Ended { status, said: log_since(&log, begin) });
            }
            // The connection first, as it costs less than a process.
            let is_open = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            if is_open && self.client().run("SELECT 1").is_ok() {
                self.child = Some(child);
                return Ok(Started::Answers);
            }
            if Instant::now() >= until {
                child.end(Signal::INT, STOP_LIMIT);
                return Err(Error::Late { program: "postgres", seconds: START_LIMIT.as_secs(), log });
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Postgres {
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

fn succeed(program: &'static str, command: &mut Command) -> Result<(), Error> {
    let output = command.output().map_err(|source| Error::Run { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = last_lines(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed { program, status: output.status.to_string(), said })
}

enum Started {
    Answers,
    Ended { status: ExitStatus, said: String },
}
