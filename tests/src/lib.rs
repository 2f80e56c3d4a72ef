//! Black-box tests of the running system: the real program, real processes, real files, real sockets.
//!
//! The tests are in `tests/`; here is what they stand on. Each test runs a stack of its own on free ports and a
//! fresh data folder, does to it what a person could do, and watches from outside. The same tests try the images:
//! then the stack is containers.
//!
//! Where to look:
//! - [`stack`]: starts `mini-blog up` or containers, breaks them, and leaves nothing behind ([`processes`] sends the
//!   signals; [`containers`] knows the container engine).
//! - [`http`], [`sse`], [`raw`]: how the tests speak to it; [`blog`]: as a reader and a writer; [`bus`]: as an
//!   operator, and as a service with its secret ([`signature`]); [`load`]: as many at once.
//! - [`browser`]: a real browser.
//! - [`lone`]: one service alone; [`neighbour`]: a subscriber beside others, good or hostile.
//! - [`faults`]: the campaign of faults.
//! - [`eventually`]: how the tests wait: for a condition, never for a time.

pub mod blog;
pub mod browser;
pub mod bus;
pub mod containers;
pub mod eventually;
pub mod faults;
pub mod http;
pub mod load;
pub mod lone;
pub mod neighbour;
pub mod processes;
pub mod program;
pub mod raw;
pub mod signature;
pub mod sse;
pub mod stack;

pub use eventually::{LIMIT, eventually, holds};
pub use stack::{Setup, Stack};
