//! When a service that died is tried again.

use kit::runtime::backoff::Backoff;
use std::time::Duration;

/// The wait after the first death, and the longest one.
const WAITS: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(10) };
/// A service that ran this long was well: its next death counts as the first.
const STEADY: Duration = Duration::from_secs(10);

/// How often in a row a service died early, this death included.
pub fn failures_after(earlier: u32, ran_for: Duration) -> u32 {
    if ran_for >= STEADY { 1 } else { earlier.saturating_add(1) }
}

/// How long to wait after that many deaths in a row: doubles each time, up to a cap. Without jitter: one machine's
/// services do not storm each other.
pub fn restart_delay(failures: u32) -> Duration {
    WAITS.ceiling(failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wait_doubles_up_to_the_cap() {
        let waits: Vec<_> = (1..=8).map(|n| restart_delay(n).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn a_long_run_starts_the_count_again() {
        assert_eq!(failures_after(7, Duration::from_secs(3)), 8);
        assert_eq!(failures_after(7, STEADY), 1);
    }

    proptest! {
        #[test]
        fn the_wait_never_shrinks_and_never_leaves_its_bounds(failures in 0..u32::MAX) {
            let wait = restart_delay(failures);
            prop_assert!(wait >= WAITS.base && wait <= WAITS.cap);
            prop_assert!(wait <= restart_delay(failures + 1));
        }
    }
}
