//! A world for the tests of services.
//!
//! The services are the real ones, with their real routers and real SQLite files, and so is the event bus between
//! them. What the test owns is what a service takes from the world: the time, the ids, and the network, which
//! carries requests from one router to another without a socket.
//!
//! - [`World`]: makes services, stops them, wipes their stores; fails a test in which anything panicked.
//! - [`Running`]: one service, to send requests to. [`Ask`] is a request, [`Reply`] an answer, [`Sse`] a stream.
//! - [`Network`]: who is reachable, and what was sent.
//! - [`events`]: events to publish and deliver. [`checks`]: what every service owes the contract in the same way.

pub mod checks;
pub mod events;
mod http_calls;
mod network;
mod panics;
mod running;
mod sse;
mod wait;
mod world;

pub use http_calls::{Ask, Reply, delete, get, post, request};
pub use network::{Network, Sent};
pub use running::Running;
pub use sse::{Sse, SseEvent};
pub use wait::{LIMIT, eventually, in_time};
pub use world::{TestClock, TestIds, World, store_is_closed};
