//! Places between two steps at which a test can end the process.
//!
//! With the feature `crash-points`, which only tests turn on, `CRASH_AT=after-commit:2` aborts the process, as a kill
//! would, the second time that it reaches the place of this name. Without the feature, a place does nothing.

/// Aborts here, if `CRASH_AT` says so.
#[cfg(feature = "crash-points")]
pub fn reach(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CHOSEN: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("CRASH_AT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(times.parse().ok()?)))
    });
    if let Some((chosen, left)) = chosen
        && chosen == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

/// Without the feature, nothing happens here.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn reach(_name: &str) {}
