//! What a process takes from the world, so that a test can replace it, and what keeps it running.
//!
//! - [`deps`]: clock, ids and [`transport`] as one value.
//! - [`lifecycle`]: the stop signal and the background tasks.
//! - [`backoff`]: when to try again.
//! - [`trace`]: the W3C trace context.
//! - [`secret`], [`digest`]: texts that must not be shown, and their fingerprints.
//! - [`crash_points`]: places at which a test lets the process die.

pub mod backoff;
pub mod crash_points;
pub mod deps;
pub mod digest;
pub mod lifecycle;
pub mod secret;
pub mod trace;
pub mod transport;
