//! Waiting for a condition, with a limit.

use kit::rt::{self, Instant};
use std::future::Future;
use std::time::Duration;

/// How long anything may take on the slowest machine.
pub const LIMIT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Looks until there is something; fails the test if there never is.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "never happened: {what}");
        rt::sleep(LOOK).await;
    }
}

/// Waits for a future; fails the test if it does not end.
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    rt::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("did not end: {what}"))
}
