//! Everything on one machine: `mini-blog up` runs every service as a process of its own.
//!
//! Where to look:
//! - [`cli`]: the subcommands; each service is one, exactly as its own binary.
//! - [`supervisor`]: `up`: starts everything, reports when it is ready, stops it in order.
//! - [`prepare`]: preflight checks.
//! - [`service_supervisor`]: keeps one service running ([`backoff`] decides whether and when it is restarted).
//! - [`plan`] and [`launch`]: addresses, and the environment of each process ([`process_name`]); [`secrets`]: its secrets.
//! - [`engine`]: where the services keep their state; [`database`]: the PostgreSQL server of a stack.
//! - [`control`]: how `status`, `kill`, `start` and `restart` reach the running `up`; [`status`]: the answer.
//! - [`dead_letters`]: a client of the services themselves, with the operator's token.
//! - [`seed`]: fills a stack with made-up posts and comments.

pub mod backoff;
pub mod cli;
pub mod control;
pub mod database;
pub mod dead_letters;
pub mod engine;
pub mod files;
pub mod labels;
pub mod launch;
pub mod parent;
pub mod plan;
pub mod prepare;
pub mod probe;
pub mod process;
pub mod process_name;
pub mod secrets;
pub mod seed;
pub mod service_supervisor;
pub mod state_file;
pub mod status;
pub mod supervisor;
