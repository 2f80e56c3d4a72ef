//! The stop signal of a process, its background tasks, and whether its port is open.
//!
//! Every loop and stream selects on [`Lifecycle::stopping`]. A background task that ends or panics before the stop is a
//! crash: it is logged once and remembered, `/livez` answers 503 from then on, and [`crate::app::service::main`] stops
//! the rest cleanly and exits with a failure.

use crate::rt;
use futures_util::FutureExt;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The stop signal and the background tasks of one process. Clones share them.
#[derive(Clone, Default)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    stopping: CancellationToken,
    listening: CancellationToken,
    tasks: TaskTracker,
    crash: OnceLock<&'static str>,
    crashed: CancellationToken,
}

impl Lifecycle {
    /// A process that runs nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stop signal: loops and streams end when it is cancelled.
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stopping.clone()
    }

    /// Signals the stop. May be called more than once.
    pub fn stop(&self) {
        self.inner.stopping.cancel();
    }

    /// Whether the stop has been signalled.
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }

    /// Marks the port of the process as open. May be called more than once.
    pub fn set_listening(&self) {
        self.inner.listening.cancel();
    }

    /// Waits until the port is open: for tasks that make others send requests to this process.
    pub async fn listening(&self) {
        self.inner.listening.cancelled().await;
    }

    /// Runs a background task that is meant to last until the stop.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let this = self.clone();
        let watched = async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            match (ended, this.is_stopping()) {
                (Ok(()), true) => {}
                (Ok(()), false) => this.crash(name, "ended by itself"),
                (Err(panic), _) => this.crash(name, panic_text(&*panic)),
            }
        };
        drop(rt::spawn(self.inner.tasks.track_future(watched)));
    }

    /// Runs a background task that may end before the stop. A panic in it is a crash all the same; whoever awaits the
    /// task then gets `None`.
    pub fn spawn_finite<F>(&self, name: &'static str, task: F) -> rt::Task<Option<F::Output>>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let this = self.clone();
        let watched = async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            ended.map_err(|panic| this.crash(name, panic_text(&*panic))).ok()
        };
        rt::spawn(self.inner.tasks.track_future(watched))
    }

    /// The first background task that crashed, if one did.
    pub fn crashed(&self) -> Option<&'static str> {
        self.inner.crash.get().copied()
    }

    /// Waits until a background task crashes; forever if none does.
    pub async fn crash_seen(&self) {
        self.inner.crashed.cancelled().await;
    }

    /// Why the process is not alive, in words. Empty while all is well.
    pub fn failures(&self) -> Vec<String> {
        let crash = self.crashed().map(|name| format!("the background task {name} has crashed"));
        crash.into_iter().collect()
    }

    /// Waits for the background tasks to end, at most this long; returns whether all did.
    pub async fn wait(&self, limit: Duration) -> bool {
        self.inner.tasks.close();
        rt::timeout(limit, self.inner.tasks.wait()).await.is_ok()
    }

    fn crash(&self, task: &'static str, reason: &str) {
        tracing::error!(task, reason, "a background task crashed");
        // The first crash names the cause; later ones are its consequences.
        let _ = self.inner.crash.set(task);
        self.inner.crashed.cancel();
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle")
            .field("stopping", &self.is_stopping())
            .field("tasks", &self.inner.tasks.len())
            .field("crashed", &self.crashed())
            .finish_non_exhaustive()
    }
}

/// The message of a panic, if it has one.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_with_the_stop_and_are_waited_for() {
        let lifecycle = Lifecycle::new();
        let stopping = lifecycle.stopping();
        lifecycle.spawn("loop", async move { stopping.cancelled().await });
        assert!(!lifecycle.wait(Duration::from_millis(5)).await, "it runs until the stop");
        lifecycle.stop();
        assert!(lifecycle.wait(Duration::from_secs(5)).await);
        assert_eq!(lifecycle.crashed(), None);
        assert!(lifecycle.failures().is_empty());
    }

    #[tokio::test]
    async fn a_task_that_ends_or_panics_early_is_a_crash_and_the_first_one_is_named() {
        for panics in [false, true] {
            let lifecycle = Lifecycle::new();
            lifecycle.spawn("first", async move { assert!(!panics, "on purpose") });
            lifecycle.crash_seen().await;
            lifecycle.spawn("second", async {});
            assert!(lifecycle.wait(Duration::from_secs(5)).await);
            assert_eq!(lifecycle.crashed(), Some("first"));
            assert_eq!(lifecycle.failures(), ["the background task first has crashed"]);
        }
    }

    #[tokio::test]
    async fn a_panic_after_the_stop_is_a_crash_too() {
        let lifecycle = Lifecycle::new();
        lifecycle.stop();
        lifecycle.spawn("late", async { panic!("on purpose") });
        assert!(lifecycle.wait(Duration::from_secs(5)).await);
        assert_eq!(lifecycle.crashed(), Some("late"));
    }

    #[tokio::test]
    async fn a_finite_task_may_end_early_and_its_panic_is_a_crash() {
        let lifecycle = Lifecycle::new();
        assert_eq!(lifecycle.spawn_finite("one", async { 7 }).await.unwrap(), Some(7));
        assert_eq!(lifecycle.crashed(), None);
        assert_eq!(lifecycle.spawn_finite("two", async { panic!("on purpose") }).await.unwrap(), None::<()>);
        assert_eq!(lifecycle.crashed(), Some("two"));
    }
}
