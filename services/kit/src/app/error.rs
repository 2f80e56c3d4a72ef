//! Why a service does not start, or ends with an error.

use crate::runtime::transport::TransportError;
use std::io;
use std::net::SocketAddr;

/// Why serving ended with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// A background task ended or panicked before the stop.
    #[error("the background task {0} crashed")]
    Crashed(&'static str),
    /// Background tasks were still running at the end of the graceful stop.
    #[error("some background tasks did not stop in time")]
    Unfinished,
}

/// Why a service does not start. Each is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A secret is missing and `--insecure` was not given.
    #[error("{flag} is missing: set {env} (at least 16 bytes), or start with --insecure to run without")]
    MissingSecret {
        /// The flag.
        flag: &'static str,
        /// The environment variable.
        env: String,
    },
    /// A setting has no valid value.
    #[error("{0}")]
    Config(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("cannot open the store: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The HTTP client cannot be created.
    #[error("cannot create an HTTP client: {0}")]
    Transport(#[from] TransportError),
    /// The runtime or its signals cannot be set up.
    #[error("cannot set up the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// It started, and then failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl StartError {
    /// The exit code: 2 for settings that have to be corrected, else 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::MissingSecret { .. } | Self::Config(_)) { 2 } else { 1 }
    }
}
