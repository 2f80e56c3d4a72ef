//! Counts panics: a service catches its own and answers 500, so that only the hook sees them.

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    /// Panics on this thread: a test's own thread also runs the handlers of its services.
    static HERE: Cell<usize> = const { Cell::new(0) };
}
/// Panics on threads that belong to no test: the writers of stores, and those that block.
static ELSEWHERE: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();

/// Counts from now on, beside what the hook before did.
pub(crate) fn watch() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if name.ends_with("-writer") || name.starts_with("tokio") {
                ELSEWHERE.fetch_add(1, Ordering::Relaxed);
            } else {
                HERE.with(|n| n.set(n.get() + 1));
            }
            before(panic);
        }));
    });
}

/// How many there have been, as far as this thread's test is concerned.
pub(crate) fn seen() -> usize {
    HERE.with(Cell::get) + ELSEWHERE.load(Ordering::Relaxed)
}
