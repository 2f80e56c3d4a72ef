//! Counts panics. A service catches its own and answers 500, so that only a panic hook sees them.

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    /// Panics on this thread: the thread of a test also runs the handlers of its services.
    static THIS_THREAD: Cell<usize> = const { Cell::new(0) };
}
/// Panics on threads of no test: the writers of stores, and blocking tasks.
static SHARED_THREADS: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();

/// Counts from now on; the previous hook still runs.
pub(crate) fn watch() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if name.ends_with("-writer") || name.starts_with("tokio") {
                SHARED_THREADS.fetch_add(1, Ordering::Relaxed);
            } else {
                THIS_THREAD.with(|n| n.set(n.get() + 1));
            }
            before(panic);
        }));
    });
}

/// How many panics the test of this thread has seen.
pub(crate) fn seen() -> usize {
    THIS_THREAD.with(Cell::get) + SHARED_THREADS.load(Ordering::Relaxed)
}
