//! The runtime: everything that spawns, waits or blocks goes through these few functions. Underneath is tokio.
//!
//! One thin layer, so that a deterministic runtime can take tokio's place without a change elsewhere.
//! `services/clippy.toml` and a test of the sources forbid the ways around it.

#![allow(clippy::disallowed_methods, reason = "the one module that calls the runtime itself")]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::Duration;

pub use tokio::time::error::Elapsed;
pub use tokio::time::{Instant, Sleep, Timeout};

/// A spawned task. Awaiting it returns an error if the task panicked; dropping it lets the task run on.
pub type Task<T> = tokio::task::JoinHandle<T>;

/// Why a task has no result: it panicked, or the runtime ended first.
pub type TaskError = tokio::task::JoinError;

/// Runs a future in the background. Long-lived tasks belong to [`crate::runtime::lifecycle::Lifecycle::spawn`], which
/// notices their end; the caller of this function watches the task itself.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(future)
}

/// Ends after this long.
pub fn sleep(duration: Duration) -> Sleep {
    tokio::time::sleep(duration)
}

/// The future's output, or an error if it takes longer than this.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    tokio::time::timeout(duration, future)
}

/// Runs what blocks (a query, a file) on a separate thread.
pub async fn unblock<T, F>(f: F) -> Result<T, TaskError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(f).await
}

/// Runs what blocks for as long as the process lives on a thread with a name. It watches itself: nobody joins it.
pub fn spawn_thread(name: String, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name).spawn(f).map(drop)
}

/// Runs a future on the present thread, which must not be one of the runtime's own. `None` if it is not ready by
/// `deadline`; without one, waits for as long as it takes.
pub fn block_on<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let Some(deadline) = deadline else {
            std::thread::park();
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

/// A runtime for one thread, which makes calls of its own and waits for each.
#[derive(Debug)]
#[cfg(feature = "postgres")]
pub struct ThreadRuntime(tokio::runtime::Runtime);

#[cfg(feature = "postgres")]
impl ThreadRuntime {
    /// For the present thread.
    pub fn new() -> std::io::Result<Self> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(Self)
    }

    /// Runs a future, and meanwhile all that it has spawned.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
