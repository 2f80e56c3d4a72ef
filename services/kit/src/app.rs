//! A service as a whole: its settings, its start and its stop.
//!
//! - [`config`]: settings, as flags and environment variables.
//! - [`service`]: a service as a value, and the `main` that runs one.
//! - [`peer`]: a service that publishes and consumes events.
//! - [`telemetry`]: logs and metrics of the process.

pub mod config;
mod error;
mod open_files;
pub mod peer;
pub mod service;
pub mod telemetry;

pub use error::{ServeError, StartError};
