//! The log of events: what the bus requires of it ([`EventLog`]), and the logs in SQLite and in NATS JetStream. Nothing
//! above the trait knows where the log is kept. The tests in `conformance` say what every log has to do, and run on each.

mod checksum;
#[cfg(test)]
mod conformance;
#[cfg(feature = "jetstream")]
pub mod jetstream;
mod recent;
mod row;
mod sqlite;
mod url;
mod verification;

pub use sqlite::{SCHEMA, SqliteLog};
pub use url::{BadUrl, EventLogLocation, EventLogUrl, EventLogUrlParser, LocationError};
pub use verification::VERIFIED;

use futures_util::future::BoxFuture;
use kit::store::DiskFloor;
use shared::{Envelope, Sequence, Timestamp};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    pub sequence: Sequence,
    /// When the log stored it.
    pub recorded_at: Timestamp,
    /// The whole envelope as JSON, with its sequence.
    pub json: Arc<str>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk is full, too many writes are waiting, or it is unknown whether the events were appended: a later attempt
    /// may succeed, and finds what was appended.
    #[error("the log is not available: {0}")]
    Unavailable(String),
    /// Too little of the disk is free. The store has logged it.
    #[error("the disk is nearly full: less than {floor} MiB is free")]
    DiskFloor {
        /// How much has to be free.
        floor: DiskFloor,
    },
    /// A fault in the program: retrying does not help.
    #[error("the log panicked")]
    Panicked,
    /// An event differs from what was appended. It is neither read nor skipped: only a backup helps.
    #[error("the log in {place} is damaged: {what}")]
    Damaged {
        place: String,
        /// Which event, and what is wrong with it.
        what: String,
    },
    /// More than the log can store at once: a smaller append may succeed.
    #[error("{0}")]
    TooLarge(String),
    /// Another event is stored under the same `source` and `id`.
    #[error(transparent)]
    Conflict(#[from] IdConflict),
}

/// An event that has the `source` and `id` of another one: its type, its key or its data differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log holds another event of {source_name} with the id {id}, at {sequence}")]
pub struct IdConflict {
    pub source_name: String,
    pub id: String,
    /// Where the log holds the other event.
    pub sequence: Sequence,
}

/// A durable, ordered log of events, numbered from 1 without gaps.
pub trait EventLog: Send + Sync + 'static {
    /// Appends complete envelopes, all or none, and returns their sequences once they are on disk. An event that the
    /// log already holds (same `source`, `id`, type, key and data) is not appended again: it keeps its sequence.
    fn append(&self, events: Vec<Envelope>, now: Timestamp)
    -> BoxFuture<'_, Result<Vec<Sequence>, LogError>>;

    /// The events after a sequence, in order: at most `limit`, and at most `max_bytes` unless the first alone is larger.
    /// Ends before a damaged event, and fails where that is the first.
    fn read(
        &self,
        after: Sequence,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Logged>, LogError>>;

    /// As [`EventLog::read`], without waiting for the disk: `None` where the next event is not among the last ones, which
    /// are still in memory.
    fn read_recent(&self, after: Sequence, limit: usize, max_bytes: usize) -> Option<Vec<Logged>>;

    /// The last sequence that is on disk; changes as the log grows, also by what other replicas append.
    fn head(&self) -> watch::Receiver<Sequence>;

    /// What the log does in the background, until `stopping`.
    fn maintain(&self, stopping: CancellationToken) -> BoxFuture<'static, ()>;
}
