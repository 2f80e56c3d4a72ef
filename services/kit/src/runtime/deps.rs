//! What a service needs from outside: the time, new ids and a way to send requests.
//!
//! They are passed in, so that a test can replace them; `clippy.toml` forbids other sources.

use crate::runtime::transport::{HttpTransport, Transport, TransportError};
use shared::Timestamp;
use std::cell::RefCell;
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
    /// 128 random bits from the operating system: fit for secrets.
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

/// Ids from the randomness of the operating system.
#[derive(Debug)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[allow(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn random(&self) -> u128 {
        RANDOM.with_borrow_mut(RandomBytes::take)
    }
}

/// How many random bytes are taken from the system at once: each request needs some, and a system call for 16 takes about
/// as long as one for 256.
const RANDOM_BYTES: usize = 256;

thread_local! {
    static RANDOM: RefCell<RandomBytes> = const { RefCell::new(RandomBytes { bytes: [0; RANDOM_BYTES], left: 0 }) };
}

/// Random bytes that nobody has seen.
struct RandomBytes {
    bytes: [u8; RANDOM_BYTES],
    left: usize,
}

impl RandomBytes {
    fn take(&mut self) -> u128 {
        if self.left == 0 {
            match getrandom::fill(&mut self.bytes) {
                Ok(()) => self.left = RANDOM_BYTES,
                Err(_) => return random_uuids(),
            }
        }
        self.left -= size_of::<u128>();
        let mut taken = [0; size_of::<u128>()];
        // What was taken may be a secret: it does not stay here.
        taken.swap_with_slice(&mut self.bytes[self.left..self.left + size_of::<u128>()]);
        u128::from_ne_bytes(taken)
    }
}

/// For a system that refuses: the library knows other ways.
#[allow(clippy::disallowed_methods, reason = "the one place that takes randomness")]
fn random_uuids() -> u128 {
    // A version 4 UUID fixes 6 of its bits; two of them give 128 that are free.
    let (a, b) = (Uuid::new_v4().as_u128(), Uuid::new_v4().as_u128());
    a ^ b.rotate_left(64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_random_number_comes_twice() {
        let numbers = || (0..1_000).map(|_| SystemIds.random()).collect::<Vec<_>>();
        let other = std::thread::scope(|scope| scope.spawn(numbers).join().unwrap());
        let all: HashSet<u128> = numbers().into_iter().chain(other).collect();
        assert_eq!(all.len(), 2_000);
        assert!(!all.contains(&0), "what was taken is not there for a second time");
    }
}
