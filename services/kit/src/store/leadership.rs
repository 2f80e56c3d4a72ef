//! A duty that one replica has at a time.

use std::fmt;
use tokio_util::sync::CancellationToken;

/// Held while this replica has a duty; another may have it once this is dropped. With a database of its own, a program is
/// the only replica.
///
/// It saves work, and protects nothing: for a few seconds, a replica that has lost its connection and the one that has
/// taken over may both act.
pub struct Leadership {
    lost: CancellationToken,
    resign: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Leadership {
    #[cfg(feature = "postgres")]
    pub(super) fn new(lost: CancellationToken, resign: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { lost, resign: Some(Box::new(resign)) }
    }

    /// Never lost.
    pub(super) fn of_the_only_one() -> Self {
        Self { lost: CancellationToken::new(), resign: None }
    }

    /// Ends where another replica may have it.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if let Some(resign) = self.resign.take() {
            resign();
        }
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("lost", &self.lost.is_cancelled()).finish_non_exhaustive()
    }
}
