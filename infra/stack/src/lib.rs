//! Everything on one machine: `mini-blog up` runs every service as a process of its own.
//!
//! Where to look:
//! - [`cli`]: the subcommands; each service is one, exactly as its own binary.
//! - [`supervisor`]: `up`: starts everything, says when it is ready, stops it in order.
//! - [`prepare`]: what must be had before anything is started.
//! - [`keeper`]: keeps one service running ([`backoff`] decides when it is tried again).
//! - [`plan`] and [`launch`]: who listens where, and what each process is told; [`secrets`]: what only it may know.
//! - [`control`]: how `status`, `kill`, `start` and `restart` reach the running `up`; [`status`] is what they hear.
//! - [`dead_letters`]: asks the services themselves, as an operator.

pub mod backoff;
pub mod cli;
pub mod control;
pub mod dead_letters;
pub mod files;
pub mod keeper;
pub mod labels;
pub mod launch;
pub mod parent;
pub mod plan;
pub mod prepare;
pub mod probe;
pub mod process;
pub mod secrets;
pub mod state_file;
pub mod status;
pub mod supervisor;
