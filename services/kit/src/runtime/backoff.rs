//! When to try again: exponential backoff with full jitter and a cap.
//!
//! Pure: it takes the attempt and the randomness, and returns the wait.

use std::time::Duration;

/// A schedule of waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Backoff {
    /// Between services: from 50 ms up to 10 s.
    pub const SERVICES: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(10) };

    /// The longest possible wait after `attempts` failures in a row: doubles each time, up to the cap.
    pub fn ceiling(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.base.checked_mul(1 << doublings).map_or(self.cap, |d| d.min(self.cap))
    }

    /// The wait after `attempts` failures in a row: between 1 ms and the ceiling, at random, so that callers that failed
    /// together do not try again together.
    pub fn delay(&self, attempts: u32, random: u128) -> Duration {
        let ceiling = self.ceiling(attempts).as_millis().max(1);
        Duration::from_millis((1 + random % ceiling) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        let ceilings: Vec<u128> = (0..7).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [100, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.ceiling(u32::MAX), backoff.cap);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_nothing_and_never_beyond_the_cap(
            attempts: u32, random: u128, base in 1_u64..100_000, cap in 1_u64..100_000
        ) {
            let backoff = Backoff { base: Duration::from_millis(base), cap: Duration::from_millis(cap) };
            let wait = backoff.delay(attempts, random);
            prop_assert!(wait >= Duration::from_millis(1));
            prop_assert!(wait <= backoff.ceiling(attempts).max(Duration::from_millis(1)));
            prop_assert!(backoff.ceiling(attempts) <= backoff.cap);
        }

        #[test]
        fn waits_spread_over_the_whole_range(seed: u64) {
            let backoff = Backoff::SERVICES;
            // A small generator is enough to show that the jitter uses its randomness.
            let mut state = u128::from(seed) | 1;
            let mut waits: Vec<u128> = (0..100)
                .map(|_| {
                    state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
                    backoff.delay(20, state >> 32).as_millis()
                })
                .collect();
            waits.sort_unstable();
            waits.dedup();
            prop_assert!(waits.len() > 90);
            prop_assert!(waits[0] < 2_000 && waits[waits.len() - 1] > 8_000);
        }
    }
}
