//! How a command reaches the running `up`: a socket in the data folder, one line of JSON each way.

use crate::process_name::ProcessName;
use crate::service_supervisor::Action;
use crate::status::StackStatus;
use serde::{Deserialize, Serialize};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// In the data folder.
pub const FILE_NAME: &str = "control.sock";
/// The longest path of a socket on any supported system, without the closing zero.
const MAX_PATH: usize = 103;
/// The longest line in either direction.
const MAX_LINE: u64 = 256 * 1024;
/// How long a request may take to arrive.
const ASKING: Duration = Duration::from_secs(5);
/// How long an answer may take: longer than a service may take to stop and to become ready again.
const ANSWERING: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    Status,
    Kill { service: ProcessName },
    Start { service: ProcessName },
    Restart { service: ProcessName },
}

impl Request {
    /// The command for a service's supervisor; none for `Status`.
    pub fn command(self) -> Option<(ProcessName, Action)> {
        match self {
            Self::Status => None,
            Self::Kill { service } => Some((service, Action::Kill)),
            Self::Start { service } => Some((service, Action::Start)),
            Self::Restart { service } => Some((service, Action::Restart)),
        }
    }
}

/// Each message is one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Done { message: String },
    Failed { message: String },
    Status(StackStatus),
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no stack is running on {}: start one with `mini-blog up`", .0.display())]
    NotRunning(PathBuf),
    #[error("{} is too long for the path of a socket: use a data folder with a shorter path", .0.display())]
    TooLong(PathBuf),
    #[error("the stack did not answer in time: is it suspended? (`fg` resumes it)")]
    Timeout,
    #[error("the control socket in {}: {source}", .data_dir.display())]
    Io { data_dir: PathBuf, source: io::Error },
}

/// A path of the socket that is short enough. If the plain one is too long, the path leads through the open folder, which
/// must stay open while the path is in use.
struct Address {
    path: PathBuf,
    _folder: Option<File>,
}

fn address(data_dir: &Path) -> Result<Address, ControlError> {
    let path = data_dir.join(FILE_NAME);
    if path.as_os_str().len() <= MAX_PATH {
        return Ok(Address { path, _folder: None });
    }
    let folder = File::open(data_dir).map_err(|source| io_error(data_dir, source))?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    if !through.exists() {
        return Err(ControlError::TooLong(path));
    }
    Ok(Address { path: through.join(FILE_NAME), _folder: Some(folder) })
}

fn io_error(data_dir: &Path, source: io::Error) -> ControlError {
    ControlError::Io { data_dir: data_dir.to_owned(), source }
}

/// Opens the socket, for the owner alone. The caller must hold the lock of the data folder: a socket that an earlier run
/// left behind is removed.
pub fn listen(data_dir: &Path) -> Result<UnixListener, ControlError> {
    let io = |e| io_error(data_dir, e);
    let plain = data_dir.join(FILE_NAME);
    match std::fs::remove_file(&plain) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let address = address(data_dir)?;
    let listener = UnixListener::bind(&address.path).map_err(io)?;
    std::fs::set_permissions(&plain, Permissions::from_mode(crate::files::PRIVATE)).map_err(io)?;
    Ok(listener)
}

/// Reads one request from a connection and writes its answer.
pub async fn serve<F: Future<Output = Answer>>(stream: UnixStream, handle: impl FnOnce(Request) -> F) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let read = tokio::time::timeout(ASKING, (&mut stream).take(MAX_LINE).read_line(&mut line)).await;
    let answer = match read {
        Ok(Ok(_)) => match serde_json::from_str(&line) {
            Ok(request) => handle(request).await,
            Err(e) => Answer::Failed { message: format!("not a request: {e}") },
        },
        // The client has gone, or never sent a request.
        _ => return,
    };
    if let Ok(mut text) = serde_json::to_vec(&answer) {
        text.push(b'\n');
        // The client may have gone by now.
        let _ = stream.get_mut().write_all(&text).await;
    }
}

/// Sends a request to the stack that runs on this folder.
pub async fn ask(data_dir: &Path, request: Request) -> Result<Answer, ControlError> {
    tokio::time::timeout(ANSWERING, exchange(data_dir, request)).await.map_err(|_| ControlError::Timeout)?
}

async fn exchange(data_dir: &Path, request: Request) -> Result<Answer, ControlError> {
    let io = |e| io_error(data_dir, e);
    if !data_dir.join(FILE_NAME).exists() {
        return Err(ControlError::NotRunning(data_dir.to_owned()));
    }
    let address = address(data_dir)?;
    let stream = match UnixStream::connect(&address.path).await {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            return Err(ControlError::NotRunning(data_dir.to_owned()));
        }
        Err(e) => return Err(io(e)),
    };
    let mut stream = BufReader::new(stream);
    let mut text = serde_json::to_vec(&request).map_err(|e| io(e.into()))?;
    text.push(b'\n');
    stream.get_mut().write_all(&text).await.map_err(io)?;
    let mut line = String::new();
    (&mut stream).take(MAX_LINE).read_line(&mut line).await.map_err(io)?;
    serde_json::from_str(&line).map_err(|e| io(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ServiceName;
    use test_support::{LIMIT, eventually};

    async fn echo(data_dir: &Path) {
        let listener = listen(data_dir).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, async |request| Answer::Done { message: format!("{request:?}") }).await;
            }
        });
    }

    fn done(text: &str) -> Answer {
        Answer::Done { message: text.to_owned() }
    }

    #[tokio::test]
    async fn a_request_gets_its_answer_and_only_the_owner_may_ask() {
        let dir = tempfile::tempdir().unwrap();
        echo(dir.path()).await;
        let mode = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(ask(dir.path(), Request::Status).await.unwrap(), done("Status"));
        let kill = Request::Kill { service: ServiceName::EventBus.into() };
        assert_eq!(
            ask(dir.path(), kill).await.unwrap(),
            done("Kill { service: ProcessName { service: EventBus, replica: None } }")
        );
    }

    #[tokio::test]
    async fn a_long_path_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a".repeat(100)).join("b".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        echo(&deep).await;
        assert_eq!(ask(&deep, Request::Status).await.unwrap(), done("Status"));
    }

    #[tokio::test]
    async fn without_a_stack_the_error_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = ask(dir.path(), Request::Status).await.unwrap_err();
        assert!(matches!(error, ControlError::NotRunning(_)), "{error}");
        // Left behind by a run that was killed ...
        drop(listen(dir.path()).unwrap());
        assert!(dir.path().join(FILE_NAME).exists());
        // (A process that another test starts right now holds the socket open until it runs its program.)
        eventually(LIMIT, "it is said that none is running", async || {
            let said = ask(dir.path(), Request::Status).await.unwrap_err().to_string();
            if said.contains("no stack is running on") { Ok(()) } else { Err(said) }
        })
        .await;
        // ... which does not prevent the next.
        echo(dir.path()).await;
        assert_eq!(ask(dir.path(), Request::Status).await.unwrap(), done("Status"));
    }

    #[tokio::test]
    async fn nonsense_is_answered_and_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        echo(dir.path()).await;
        for nonsense in ["\n", "{}\n", "{\"command\":\"kill\",\"service\":\"bus\"}\n"] {
            let mut stream = UnixStream::connect(dir.path().join(FILE_NAME)).await.unwrap();
            stream.write_all(nonsense.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("not a request"), "{answer}");
        }
        assert_eq!(ask(dir.path(), Request::Status).await.unwrap(), done("Status"));
    }

    #[test]
    fn requests_are_written_as_scripts_write_them() {
        let json = serde_json::to_string(&Request::Restart { service: ServiceName::Query.into() }).unwrap();
        assert_eq!(json, r#"{"command":"restart","service":"query"}"#);
        assert_eq!(serde_json::from_str::<Request>(r#"{"command":"status"}"#).unwrap(), Request::Status);
    }
}
