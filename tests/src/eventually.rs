//! Waiting for a condition.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for a busy machine; what works takes a fraction of it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// How many characters of what was seen last are printed.
const SHOWN: usize = 4_000;

/// Looks again and again until `look` gives a value. After the limit the test fails and says what was seen last.
pub async fn eventually<T>(limit: Duration, what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(limit, what, look).await.unwrap_or_else(|late| panic!("{late}"))
}

/// Looks again and again until `look` gives a value; the error after the limit says what was seen last.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let until = Instant::now() + limit;
    loop {
        let seen = match look().await {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= until {
            return Err(format!("not within {limit:?}: {what}\nlast seen: {}", beginning(&seen, SHOWN)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The value where the condition holds for it, else what it is: one look of [`eventually`].
pub fn holds<T: Debug>(value: T, condition: impl FnOnce(&T) -> bool) -> Result<T, String> {
    if condition(&value) { Ok(value) } else { Err(format!("{value:?}")) }
}

/// The beginning of a text that may be very long.
pub(crate) fn beginning(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}
