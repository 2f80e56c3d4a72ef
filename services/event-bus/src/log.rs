//! What the bus needs of a log. Nothing above this trait knows where the log is kept.

use futures_util::future::BoxFuture;
use shared::{Envelope, Sequence, Timestamp};
use tokio::sync::watch;

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its place.
    pub sequence: Sequence,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// The whole envelope as JSON, with its sequence.
    pub json: String,
}

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not at the moment: the disk is full, or too much is waiting.
    #[error("the log is not available: {0}")]
    Unavailable(String),
    /// An event is not as it was appended. It is neither read nor skipped: only a backup helps.
    #[error("the log in {place} is damaged: {what}")]
    Damaged {
        /// Where the log is kept.
        place: String,
        /// Which event, and what is wrong with it.
        what: String,
    },
}

/// A durable, ordered log of events, numbered from 1 without gaps.
pub trait EventLog: Send + Sync + 'static {
    /// Appends complete envelopes, all or none, and answers with their places once they are on disk. One whose
    /// `source` and `id` the log already holds is not appended again: it keeps the place it has.
    fn append(&self, events: Vec<Envelope>, now: Timestamp)
    -> BoxFuture<'_, Result<Vec<Sequence>, LogError>>;

    /// The events after a place, in order: at most `limit`, and no more once they come to `max_bytes`. Ends before
    /// one that is damaged; fails where that is the first.
    fn read(
        &self,
        after: Sequence,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Logged>, LogError>>;

    /// The last place that is on disk; changes as the log grows.
    fn head(&self) -> watch::Receiver<Sequence>;
}
