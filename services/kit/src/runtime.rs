//! External dependencies (clock, ids, network), replaceable in tests, and what keeps a process running.
//!
//! - [`deps`]: clock, ids and [`transport`] as one value.
//! - [`lifecycle`]: the stop signal and the background tasks.
//! - [`addresses`]: several replicas of one service. [`backoff`]: when to try again.
//! - [`trace`]: the W3C trace context.
//! - [`secret`], [`digest`], [`mac`]: texts that must not be shown, their fingerprints, and keys made of them.
//! - [`key_waiters`]: requests that wait for something to become known.
//! - [`crash_points`]: places at which a test lets the process die.

pub mod addresses;
pub mod backoff;
pub mod crash_points;
pub mod deps;
pub mod digest;
pub mod key_waiters;
pub mod lifecycle;
pub mod mac;
pub mod secret;
pub mod trace;
pub mod transport;
