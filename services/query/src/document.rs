//! The course's `GET /posts`, the most frequent request: one document with every post and comment, kept as chunks of
//! bytes that all readers share.
//!
//! A chunk is rendered when somebody reads it, and again only if one of its rows has changed. So a write costs one
//! chunk, whatever the length of the document; a response holds one chunk, however slowly its client reads; and a chunk
//! that was replaced is freed with the last response that holds it. Each chunk is up to date when it is sent. The
//! chunks of one response may therefore come from different moments, but fit together: each begins right after the
//! row that the one before it ended with.

mod cached;
mod chunk;
mod response;

use crate::store::{self, Spot};
use cached::{Cached, Place, Slot};
use chunk::{Chunk, render};
use kit::messaging::inbox;
use kit::store::{ReadError, Store};
use shared::Sequence;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How many changes are looked up at once.
const CHANGES: i64 = 1_000;
/// The most bytes kept for all readers. What is beyond is rendered for each reader.
const BUDGET: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone)]
pub struct Document {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    committed: watch::Receiver<u64>,
    cached: Mutex<Cached>,
    /// Held while the changes are looked up: one reader does it for all.
    syncing: tokio::sync::Mutex<()>,
}

impl Document {
    pub fn new(store: Store) -> Self {
        Self::with_budget(store, BUDGET)
    }

    fn with_budget(store: Store, budget: usize) -> Self {
        let inner = Inner {
            committed: store.committed(),
            store,
            cached: Mutex::new(Cached::new(budget)),
            syncing: tokio::sync::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.inner.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up the chunks that the last commits have changed; returns up to which event the rest is up to date. The
    /// event `minimum` was applied, perhaps by a commit that is not counted yet.
    async fn sync(&self, minimum: Sequence) -> Result<Sequence, ReadError> {
        let commit = || *self.inner.committed.borrow();
        if let Some(sequence) = self.cached().up_to(commit(), minimum) {
            return Ok(sequence);
        }
        let _turn = self.inner.syncing.lock().await;
        // Read before the store: what is committed in between is looked up by the next reader.
        let commit = commit();
        loop {
            if let Some(sequence) = self.cached().up_to(commit, minimum) {
                return Ok(sequence);
            }
            let last = self.cached().last_change();
            let (touched, newest, moved, place) = self
                .inner
                .store
                .read(move |tx| {
                    let touched = last.map(|last| store::touched_after(tx, last, CHANGES)).transpose()?;
                    let (newest, sequence) = store::last_change(tx)?;
                    let place = Place { cursor: inbox::cursor(tx)?, sequence };
                    Ok((touched.flatten(), newest, store::last_move(tx)?, place))
                })
                .await?;
            self.cached().apply(commit, touched, newest, moved, place);
        }
    }

    /// The shared chunk after a row, rendered now if it has to be; nothing where the chunks begin elsewhere.
    async fn shared(
        &self,
        after: Option<&Spot>,
        last_move: Option<i64>,
    ) -> Result<Option<Arc<Chunk>>, ReadError> {
        let Some(slot) = self.cached().slot(after, last_move) else { return Ok(None) };
        // One reader renders, the others wait for this chunk.
        let chunk = slot.chunk.get_or_try_init(|| self.fill(after, &slot)).await?;
        Ok(Some(Arc::clone(chunk)))
    }

    async fn fill(&self, after: Option<&Spot>, slot: &Slot) -> Result<Arc<Chunk>, ReadError> {
        let range = slot.range(after);
        let chunk = Arc::new(self.inner.store.read(move |tx| render(tx, &range)).await?);
        self.cached().keep(after, slot, chunk.text.len());
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests;
