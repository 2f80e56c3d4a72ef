//! Services as processes that a test starts, lets die, and starts again.

use bytes::Bytes;
use http::Request;
use kit::runtime::transport::{HttpTransport, Transport};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use shared::ServiceName::{self, EventBus};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use tempfile::TempDir;
use test_support::ports;
use test_support::processes::Process;
use testkit::eventually;

/// The environment variable with the role of a process.
pub const ROLE: &str = "TEST_PROCESS";
/// The signal of an aborted process.
const SIGABRT: i32 = 6;

/// This binary as another process.
pub fn this_binary(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a binary"));
    prepare(&mut command, role);
    command
}

fn prepare(command: &mut Command, role: &str) {
    command.args(["--exact", "the_process", "--nocapture", "--test-threads=1"]);
    command.env_clear().env(ROLE, role);
}

/// Whether a process died at a crash point.
pub fn aborted(status: ExitStatus) -> bool {
    status.signal() == Some(SIGABRT)
}

/// The processes of one test, their addresses and their folders.
pub struct System {
    dir: TempDir,
    addresses: HashMap<ServiceName, SocketAddr>,
    running: HashMap<ServiceName, Process>,
    transport: HttpTransport,
}

impl System {
    /// Nothing runs yet.
    pub fn new() -> Self {
        let addresses =
            ports::free(ServiceName::ALL.len()).into_iter().map(|port| ([127, 0, 0, 1], port).into());
        Self {
            dir: tempfile::tempdir().expect("a folder"),
            addresses: ServiceName::ALL.into_iter().zip(addresses).collect(),
            running: HashMap::new(),
            transport: HttpTransport::new().expect("a client"),
        }
    }

    /// Starts a service, and waits until it answers.
    pub async fn start(&mut self, name: ServiceName) {
        self.launch(name, this_binary(name.as_str()), None).await;
    }

    /// Starts a service that dies at this crash point.
    pub async fn start_to_die(&mut self, name: ServiceName, at: &str) {
        self.launch(name, this_binary(name.as_str()), Some(at)).await;
    }

    /// Starts a service whose files cannot grow beyond this size: a write beyond it fails, as on a broken disk.
    pub async fn start_with_small_files(&mut self, name: ServiceName, kib: u32) {
        let mut command = Command::new("bash");
        let binary = std::env::current_exe().expect("a binary");
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(binary);
        prepare(&mut command, name.as_str());
        self.launch(name, command, None).await;
    }

    async fn launch(&mut self, name: ServiceName, mut command: Command, crash_at: Option<&str>) {
        let address = self.addresses[&name];
        command
            .env("LISTEN", address.to_string())
            .env("DATA_DIR", self.folder(name))
            .env("EVENT_BUS_URL", format!("http://{}", self.addresses[&EventBus]))
            .env("INSECURE", "true")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(point) = crash_at {
            command.env("CRASH_AT", point);
        }
        let process = Process::start(&mut command, &self.output_path(name));
        assert!(self.running.insert(name, process).is_none(), "it runs");
        eventually(&format!("{name} answers"), async || {
            // A crash point may be reached before the first answer.
            if self.ended(name).is_some() {
                return Some(());
            }
            let request =
                Request::get(format!("http://{address}/livez")).body(Bytes::new()).expect("a request");
            self.transport.send(request).await.ok().map(drop)
        })
        .await;
    }

    fn ended(&mut self, name: ServiceName) -> Option<ExitStatus> {
        self.running.get_mut(&name).expect("a process").ended()
    }

    /// Whether a process has ended by itself.
    pub fn has_died(&mut self, name: ServiceName) -> bool {
        self.ended(name).is_some()
    }

    /// Kills a process.
    pub fn kill(&mut self, name: ServiceName) {
        self.running.remove(&name).expect("a process").kill();
    }

    /// Waits until a process has ended.
    pub async fn end_of(&mut self, name: ServiceName) -> ExitStatus {
        let status = eventually(&format!("{name} ends"), async || self.ended(name)).await;
        self.running.remove(&name);
        status
    }

    /// Waits until a process has died at its crash point.
    pub async fn dies(&mut self, name: ServiceName) {
        let status = self.end_of(name).await;
        assert!(aborted(status), "{name} ended with {status}: {}", self.output(name));
    }

    /// Sends a request; nothing if there is no answer.
    pub async fn send(
        &self,
        name: ServiceName,
        request: http::request::Builder,
        body: &Value,
    ) -> Option<Answer> {
        let path = request.uri_ref().expect("a path").to_string();
        let request = request
            .uri(format!("http://{}{path}", self.addresses[&name]))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))
            .expect("a request");
        let answer = self.transport.send(request).await.ok()?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().contains_key("retry-after");
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        Some(Answer { status, body, retry_after })
    }

    /// `POST`, with this idempotency key if there is one.
    pub async fn post(
        &self,
        name: ServiceName,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Option<Answer> {
        let mut request = Request::post(path);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(name, request, body).await
    }

    /// `GET`, which must answer 200.
    pub async fn get(&self, name: ServiceName, path: &str) -> Value {
        let answer = self.send(name, Request::get(path), &Value::Null).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// The log.
    pub async fn log(&self) -> Vec<Value> {
        self.get(EventBus, "/events").await.as_array().expect("events").clone()
    }

    /// One number from the store of a service, which may be down.
    pub fn number(&self, name: ServiceName, sql: &str) -> i64 {
        let path = self.folder(name).join(format!("{name}.db"));
        let c = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a store");
        c.query_row(sql, [], |row| row.get(0)).expect("a number")
    }

    /// The folder of a service's store.
    pub fn folder(&self, name: ServiceName) -> PathBuf {
        self.dir.path().join(name.as_str())
    }

    fn output_path(&self, name: ServiceName) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// What a service has printed.
    pub fn output(&self, name: ServiceName) -> String {
        std::fs::read_to_string(self.output_path(name)).unwrap_or_default()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, if it is JSON.
    pub body: Value,
    /// Whether it has `Retry-After`.
    pub retry_after: bool,
}
