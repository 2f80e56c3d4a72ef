//! One question for all who ask the same at the same time.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Whoever comes while an answer is under way waits for the next one, with all others who come until then. So each gets an
/// answer that was asked for after they came, and there is one question at a time.
pub(super) struct Together<T: Clone> {
    /// What those who wait will get.
    next: Mutex<Option<Shared<BoxFuture<'static, T>>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl<T: Clone> Default for Together<T> {
    fn default() -> Self {
        Self { next: Mutex::default(), turn: Arc::default() }
    }
}

impl<T: Clone> fmt::Debug for Together<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Together")
    }
}

impl<T: Clone + Send + Sync + 'static> Together<T> {
    /// What `ask` returns, or what it returns for somebody else who came before it was asked.
    pub(super) async fn answer<F>(self: &Arc<Self>, ask: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.join(ask).await
    }

    fn join<F>(self: &Arc<Self>, ask: impl FnOnce() -> F) -> Shared<BoxFuture<'static, T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || {
            // Weak: what waits here must not keep itself alive when all who wait have left.
            let (together, turn, asking) = (Arc::downgrade(self), Arc::clone(&self.turn), ask());
            let answer = async move {
                let _turn = turn.lock().await;
                // Whoever comes from now on waits for the next answer.
                if let Some(together) = together.upgrade() {
                    together.next.lock().unwrap_or_else(PoisonError::into_inner).take();
                }
                asking.await
            };
            answer.boxed().shared()
        };
        next.get_or_insert_with(first).clone()
    }
}
