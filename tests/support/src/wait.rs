//! Waiting for a condition, with a limit.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Long enough for a busy machine; what works takes a fraction of it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How many characters of the last look a failed test prints.
const SHOWN: usize = 4_000;

/// What one look finds: a value, or, best with a reason, none yet.
pub trait Look {
    /// The value that ends the waiting.
    type Found;

    /// An error says what there was instead.
    fn found(self) -> Result<Self::Found, String>;
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T> Look for Result<T, String> {
    type Found = T;

    fn found(self) -> Self {
        self
    }
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "false".to_owned())
    }
}

/// Looks until there is a value. After the limit the test fails and prints the last look.
pub async fn eventually<L: Look>(limit: Duration, what: &str, look: impl AsyncFnMut() -> L) -> L::Found {
    within(limit, what, look).await.unwrap_or_else(|late| panic!("{late}"))
}

/// Looks until there is a value; the error after the limit contains the last look.
pub async fn within<L: Look>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> L,
) -> Result<L::Found, String> {
    let until = Instant::now() + limit;
    loop {
        let last = match look().await.found() {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        if Instant::now() >= until {
            return Err(format!("not within {limit:?}: {what}\nlast seen: {}", beginning(&last, SHOWN)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The value where the condition holds for it, else the value as text: one look of [`eventually`].
pub fn holds<T: Debug>(value: T, condition: impl FnOnce(&T) -> bool) -> Result<T, String> {
    if condition(&value) { Ok(value) } else { Err(format!("{value:?}")) }
}

/// [`eventually`] for tests without a runtime.
pub fn eventually_blocking<L: Look>(what: &str, mut look: impl FnMut() -> L) -> L::Found {
    let until = std::time::Instant::now() + LIMIT;
    loop {
        let last = match look().found() {
            Ok(value) => return value,
            Err(last) => last,
        };
        let in_time = std::time::Instant::now() < until;
        assert!(in_time, "not within {LIMIT:?}: {what}\nlast seen: {}", beginning(&last, SHOWN));
        std::thread::sleep(PAUSE);
    }
}

/// Waits for a future. The test fails if it takes longer than [`LIMIT`].
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// The first characters of a text that may be very long.
pub fn beginning(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}
