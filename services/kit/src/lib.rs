//! What every service is built on.
//!
//! Events and delivery, which this project exists for:
//! - [`store`]: one SQLite file, one writer, one commit for many requests.
//! - [`outbox`]: events leave in the transaction that made them, and a relay publishes them.
//! - [`consumer`], [`inbox`], [`dead_letters`]: events arrive, are applied once and in order, or parked.
//! - [`subscriber`], [`bus_client`], [`signature`], [`backoff`]: how a service and the bus speak to each other.
//! - [`idempotency`]: requests that may be repeated; [`author`]: writers who are known again.
//!
//! What any server needs:
//! - [`service`]: a service as a value, and the `main` that runs one; [`peer`]: one that publishes and consumes.
//! - [`config`], [`deps`]: its settings, and what it takes from the world.
//! - [`crash`]: places at which a test lets a process die.
//! - [`server`], [`web`], [`trace`], [`probes`], [`telemetry`], [`lifecycle`]: connections, errors, logs, the stop.

pub mod author;
pub mod backoff;
pub mod bus_client;
pub mod config;
pub mod consumer;
pub mod crash;
pub mod dead_letters;
pub mod deps;
pub mod events_body;
pub mod idempotency;
pub mod inbox;
pub mod lifecycle;
pub mod outbox;
pub mod peer;
pub mod probes;
pub mod server;
pub mod service;
pub mod signature;
pub mod store;
pub mod subscriber;
pub mod telemetry;
pub mod trace;
pub mod transport;
pub mod web;
