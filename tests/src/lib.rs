//! Black-box tests of the running system: the real program, real processes, files and sockets.
//!
//! The tests are in `tests/`, which stand on this library. Each test runs its own stack on free ports with an empty
//! data folder, does what a person could do, and observes it from outside. The same tests run against the images, in
//! containers.
//!
//! - [`stack`]: starts `mini-blog up` or containers, breaks them, and cleans up; [`containers`]: the container engine.
//! - [`http`], [`sse`], [`raw`]: clients. [`blog`]: readers and writers; [`bus`]: an operator, and a service with its
//!   secret ([`signature`]); [`load`]: many writers at once, [`latency`]: how long it took. [`browser`]: a real browser.
//! - [`single_service`]: one service alone; [`fake_subscriber`]: a subscriber made by a test, good or hostile.
//! - [`faults`]: the campaign of faults; [`mod@bench`]: the benchmark.
//! - [`eventually`]: tests wait for a condition, never for a time.

pub mod bench;
pub mod blog;
pub mod browser;
pub mod bus;
pub mod containers;
pub mod fake_subscriber;
pub mod faults;
pub mod http;
pub mod latency;
pub mod load;
pub mod program;
pub mod signature;
pub mod single_service;
pub mod sse;
pub mod stack;

pub use stack::{Setup, Stack};
pub use test_support::{LIMIT, eventually, holds, processes, raw};
