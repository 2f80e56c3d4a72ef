//! Whether and when a service that died is restarted.

use kit::runtime::backoff::Backoff;
use std::time::Duration;

/// The wait after the first death, and the longest one.
const WAITS: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(10) };
/// After this time the next death counts as the first.
const STEADY: Duration = Duration::from_secs(10);
/// The exit code of a service whose settings are wrong.
const WRONG_SETTINGS: i32 = 2;
/// The exit code of a service that cannot work where it runs: a damaged store, a full disk, a port in use.
const CANNOT_WORK: i32 = 1;
/// How many early exits with `CANNOT_WORK` in a row make a failure. The waits between them add up to 22.6 s: a port
/// that is still being released, or a disk that is full for a moment, passes within that time; a damaged store does
/// not.
pub const ATTEMPTS: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterExit {
    /// Restart it after this wait.
    Restart(Duration),
    /// Leave it down and report it: another attempt would end in the same way.
    Fail,
}

/// How often in a row a service died early, this death included.
pub fn failures_after(earlier: u32, ran_for: Duration) -> u32 {
    if ran_for >= STEADY { 1 } else { earlier.saturating_add(1) }
}

/// What follows an exit that nobody asked for; no exit code means that a signal ended the process.
pub fn after_exit(code: Option<i32>, failures: u32) -> AfterExit {
    match code {
        Some(WRONG_SETTINGS) => AfterExit::Fail,
        Some(CANNOT_WORK) if failures >= ATTEMPTS => AfterExit::Fail,
        _ => AfterExit::Restart(restart_delay(failures)),
    }
}

/// The wait after so many deaths in a row: doubles each time, up to a cap. Without jitter, since the services of one
/// machine do not overload each other.
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

    #[test]
    fn only_the_exit_codes_of_a_failed_start_end_the_attempts() {
        assert_eq!(after_exit(Some(2), 1), AfterExit::Fail);
        assert_eq!(after_exit(Some(1), ATTEMPTS - 1), AfterExit::Restart(restart_delay(ATTEMPTS - 1)));
        assert_eq!(after_exit(Some(1), ATTEMPTS), AfterExit::Fail);
        for code in [None, Some(0), Some(101)] {
            assert_eq!(after_exit(code, ATTEMPTS), AfterExit::Restart(restart_delay(ATTEMPTS)), "{code:?}");
        }
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
