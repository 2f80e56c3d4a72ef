//! Runs services inside a test, over a simulated network.
//!
//! The services are the real ones, with their real routers and SQLite files, and so is the event bus between them. The
//! test controls what a service takes from outside: the clock, the ids, and the network, which passes requests from one
//! router to another without a socket.
//!
//! - [`World`]: starts services, stops them, deletes their stores; fails a test in which anything panicked.
//! - [`Running`]: one service, to send requests to. [`Ask`] is a request, [`Reply`] an answer, [`Sse`] a stream.
//! - [`Network`]: who is reachable, and what was sent.
//! - [`events`]: events to publish and deliver. [`checks`]: what the contract demands of every service.
//!
//! Each module stands on those above it: `http_calls`, `network`, `panics`, `sse`; then `running`; then `world`; then
//! `signing`; then `checks`.

pub mod checks;
pub mod events;
mod http_calls;
mod network;
mod panics;
mod running;
mod signing;
mod sse;
mod world;

pub use http_calls::{Ask, Reply, delete, get, post, request};
pub use network::{Network, Sent};
pub use running::Running;
pub use sse::Sse;
pub use test_support::sse::Event as SseEvent;
pub use test_support::{LIMIT, holds, in_time};
pub use world::{TestClock, TestIds, World, store_is_closed};

use test_support::Look;

/// Looks until there is a value. The test fails if there is none within [`LIMIT`].
pub async fn eventually<L: Look>(what: &str, look: impl AsyncFnMut() -> L) -> L::Found {
    test_support::eventually(LIMIT, what, look).await
}
