//! Waiting for a condition.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for a busy machine; what works takes a fraction of it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest text of what was seen last that is printed.
const SHOWN_BYTES: usize = 4_000;

/// Looks again and again until `look` gives a value. After the limit the test fails and says what was seen last.
pub async fn eventually<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let until = Instant::now() + limit;
    loop {
        let seen = match look().await {
            Ok(value) => return value,
            Err(seen) => seen,
        };
        assert!(
            Instant::now() < until,
            "not within {limit:?}: {what}\nlast seen: {}",
            &seen[..seen.floor_char_boundary(SHOWN_BYTES)]
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// The value where the condition holds for it, else what it is: one look of [`eventually`].
pub fn holds<T: Debug>(value: T, condition: impl FnOnce(&T) -> bool) -> Result<T, String> {
    if condition(&value) { Ok(value) } else { Err(format!("{value:?}")) }
}
