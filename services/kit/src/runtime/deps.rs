//! What a service needs from outside: the time, new ids and a way to send requests.
//!
//! They are passed in, so that a test can replace them; `clippy.toml` forbids other sources.

use crate::runtime::transport::{HttpTransport, Transport, TransportError};
use shared::Timestamp;
use std::sync::Arc;
use uuid::Uuid;

/// Wall clock.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// A source of new ids, and of randomness for jitter and secrets.
pub trait Ids: Send + Sync + 'static {
    /// A new UUID of version 7.
    fn uuid(&self) -> Uuid;
    /// 128 random bits: fit for secrets.
    fn random(&self) -> u128;
}

/// Everything that a service needs from outside.
#[derive(Clone)]
pub struct Deps {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// New ids and randomness.
    pub ids: Arc<dyn Ids>,
    /// Requests to other services.
    pub transport: Arc<dyn Transport>,
}

impl Deps {
    /// The system's clock and randomness, and HTTP over TCP.
    pub fn system() -> Result<Self, TransportError> {
        Ok(Self {
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            transport: Arc::new(HttpTransport::new()?),
        })
    }
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deps")
    }
}

/// The clock of the operating system.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::from_unix_ms(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Ids from a cryptographic generator in each thread, which the operating system seeds: `fast-rng` of `uuid`.
#[derive(Debug)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[allow(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that takes randomness")]
    fn random(&self) -> u128 {
        // A version 4 UUID fixes 6 of its bits; two of them give 128 that are free.
        let (a, b) = (Uuid::new_v4().as_u128(), Uuid::new_v4().as_u128());
        a ^ b.rotate_left(64)
    }
}
