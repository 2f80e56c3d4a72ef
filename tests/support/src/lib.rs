//! What tests of every crate need, and nothing that knows the project.
//!
//! - [`eventually`], [`within`], [`in_time`]: tests wait for a condition, never for a time.
//! - [`processes`]: signals, what `/proc` says, and a process that ends with its test.
//! - [`ports`]: free ports. [`raw`]: HTTP byte by byte. [`sse`]: server-sent events.
//! - [`disk`]: a small disk that can be filled. [`folders`]: copies.
//! - [`skip`]: what a test prints that cannot run on this machine.

pub mod disk;
pub mod folders;
pub mod ports;
pub mod processes;
pub mod raw;
mod skip;
pub mod sse;
mod wait;

pub use skip::{report_skipped, skip};
pub use wait::{LIMIT, Look, beginning, eventually, eventually_blocking, holds, in_time, within};
