//! Starts PostgreSQL and NATS on this machine, for tests and for `mini-blog up`.
//!
//! - [`postgres`], [`nats`]: a server with a folder of its own, on the loopback interface alone.
//! - `testing` (feature `testing`): one PostgreSQL server for a test process, a fresh database for each test.
//! - `child`: a server is a child process that ends with its parent. `account`: PostgreSQL refuses root.
//!
//! Everything here blocks: call it from a thread of its own.

mod account;
mod child;
mod files;
pub mod nats;
mod ports;
pub mod postgres;
#[cfg(feature = "testing")]
pub mod testing;

pub use account::Account;

use std::io;
use std::path::PathBuf;

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is missing, and what installs it.
    #[error("{0}")]
    Missing(String),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{program} cannot be run: {source}")]
    Run { program: &'static str, source: io::Error },
    /// A program failed; with the last lines of what it printed.
    #[error("{program} failed ({status}): {said}")]
    Failed { program: &'static str, status: String, said: String },
    #[error("{program} did not answer within {seconds} s; its log is {}", .log.display())]
    Late { program: &'static str, seconds: u64, log: PathBuf },
    #[error("user {user} cannot enter {}: choose a folder that it can reach, or do not run as root", .folder.display())]
    Unreachable { user: &'static str, folder: PathBuf },
    /// The thread that started it has panicked.
    #[error("starting it failed: {0}")]
    Thread(String),
    #[error("{name:?} is no name for a database: use a-z, 0-9 and _, at most 63, a letter first")]
    Name { name: String },
}

/// For `map_err`: the error at this path.
fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    |source| Error::Io { path, source }
}
