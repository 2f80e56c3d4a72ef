//! What every service is built on, in five layers. Each uses only those below it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`app`] | a service as a whole: settings, start, stop, telemetry |
//! | [`messaging`] | events: outbox and relay, inbox and consumer, dead letters, subscriber, signatures |
//! | [`http`] | the server and its limits, bodies, errors, idempotency, probes |
//! | [`store`] | one SQLite file: one writer, one commit for many requests |
//! | [`runtime`] | clock, ids, transport, lifecycle, backoff, secrets, trace context (not the async runtime) |
//!
//! Below them all, [`rt`] wraps the async runtime: spawn, sleep, timeout.
//!
//! A service is `build(config, deps, lifecycle) -> Service`; [`app::peer`] builds what publishes and consumes events.

#![warn(missing_docs)]

pub mod app;
pub mod http;
pub mod messaging;
pub mod rt;
pub mod runtime;
pub mod store;
