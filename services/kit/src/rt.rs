//! The runtime, in five functions: everything that waits, spawns or blocks goes through here, and tokio is underneath.
//!
//! One thin layer keeps the door open to a deterministic runtime: what runs on it needs no other change.

use std::time::Duration;

pub use tokio::time::Instant;
pub use tokio::time::Sleep;
pub use tokio::time::error::Elapsed;

/// A spawned task. Awaiting it returns an error where the task panicked; dropping it lets the task run on.
pub type Task<T> = tokio::task::JoinHandle<T>;

/// Runs a future in the background. Long-lived tasks belong to [`crate::runtime::lifecycle::Lifecycle::spawn`], which
/// notices their end; the caller of this function watches the task itself.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(future)
}

/// Ends after this long.
pub fn sleep(duration: Duration) -> tokio::time::Sleep {
    tokio::time::sleep(duration)
}

/// The future's output, or an error if it takes longer than this.
pub fn timeout<F: Future>(duration: Duration, future: F) -> tokio::time::Timeout<F> {
    tokio::time::timeout(duration, future)
}

/// Runs what blocks (a query, a file) on a thread of its own; an error where it panicked.
pub async fn unblock<T, F>(f: F) -> Result<T, tokio::task::JoinError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(f).await
}
