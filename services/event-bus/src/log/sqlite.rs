//! The log in SQLite.

use super::checksum::Checksum;
use super::recent::Recent;
use super::verification::{self, Verified};
use super::{EventLog, IdConflict, LogError, Logged};
use futures_util::future::BoxFuture;
use kit::store::{Durability, Guard, OpenError, ReadError, Row, SqlError, Store, Tx, WriteError, values};
use shared::{Envelope, Sequence, Timestamp};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The log's table, for the first migration of the bus's store.
pub const SCHEMA: &str = "
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        envelope TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        UNIQUE (source, id)
    ) STRICT;
";

/// The log of events in a table of the bus's store. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteLog {
    store: Store,
    head: Arc<watch::Sender<Sequence>>,
    recent: Arc<Recent>,
    /// What was found at the start.
    pub(super) verified: Verified,
}

impl SqliteLog {
    /// Reads the log once and refuses one that is damaged. Of a log in a file that the store did not check, because it
    /// is large, only what follows the verified prefix: [`SqliteLog::keep_verified`] reads the rest.
    pub async fn open(store: Store) -> Result<Self, OpenError> {
        let path = || store.path().to_owned();
        let failed = |e| match e {
            ReadError::Sql(source) => OpenError::Sql { path: path(), source },
            error => OpenError::Io { path: path(), source: std::io::Error::other(error.to_string()) },
        };
        let corrupt = |what| OpenError::Corrupt { path: path(), what };
        let verified = verification::at_start(&store).await.map_err(failed)?.map_err(corrupt)?;
        let head = Arc::new(watch::Sender::new(verified.head));
        Ok(Self { store, head, recent: Arc::default(), verified })
    }

    /// Reads what the start left out, and then what is appended, from the disk, and notes how far the log is verified.
    /// Damage ends the store, and so the process, as it would end a start.
    pub async fn keep_verified(self, stopping: CancellationToken) {
        let head = self.head.subscribe();
        verification::run(&self.store, self.verified, head, &stopping).await;
    }
}

pub(super) fn last(tx: &Tx<'_>) -> Result<Sequence, SqlError> {
    tx.one("SELECT coalesce(max(seq), 0) FROM events", &[], |row| row.int(0)).map(Sequence::new)
}

/// An event as a row. Serialised before it reaches the writer's thread, which all writes share.
struct NewEvent {
    source: String,
    id: String,
    json: String,
    checksum: Checksum,
}

impl NewEvent {
    fn new(mut envelope: Envelope, now: Timestamp) -> Result<Self, serde_json::Error> {
        envelope.sequence = None;
        let json = serde_json::to_string(&envelope)?;
        let (source, id) = (envelope.source.unwrap_or_default(), envelope.id.unwrap_or_default());
        let checksum = Checksum::of(&source, &id, now, &json);
        Ok(Self { source, id, json, checksum })
    }

    /// Whether a stored envelope of the same `source` and `id` is the same event. An event that was caused by
    /// another one, and is published again after its publisher lost its store, may have another `time` and `traceparent`.
    fn is_same_event(&self, stored: &str) -> bool {
        if stored == self.json {
            return true;
        }
        let read = |json| serde_json::from_str::<Envelope>(json);
        let (Ok(stored), Ok(new)) = (read(stored), read(&self.json)) else { return false };
        let data = |e: &Envelope| serde_json::from_str::<serde_json::Value>(e.data.get()).ok();
        let same_data = || stored.data.get() == new.data.get() || data(&stored) == data(&new);
        stored.kind == new.kind && stored.key() == new.key() && same_data()
    }
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
enum AppendError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error(transparent)]
    Conflict(IdConflict),
}

impl From<WriteError<AppendError>> for LogError {
    fn from(error: WriteError<AppendError>) -> Self {
        match error {
            WriteError::Rejected(AppendError::Conflict(conflict)) => Self::Conflict(conflict),
            WriteError::DiskFloor { floor } => Self::DiskFloor { floor },
            WriteError::Panicked => Self::Panicked,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<ReadError> for LogError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Panicked => Self::Panicked,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// An event that differs from what was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("the event {0} is not as it was appended: its checksum is wrong")]
    Changed(Sequence),
    #[error("the event {0} is missing")]
    Missing(Sequence),
}

/// Where the log holds what was appended.
#[derive(Default)]
struct Appended {
    /// Of each event, whether it is new or not.
    sequences: Vec<Sequence>,
    /// Those that are new, in order.
    new: Vec<Logged>,
}

const INSERT: &str = "
    INSERT INTO events (seq, source, id, recorded_at, envelope, checksum) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING";
const KNOWN: &str = "SELECT seq, envelope FROM events WHERE source = $1 AND id = $2";

fn append(tx: &Tx<'_>, rows: &[NewEvent], now: Timestamp) -> Result<Appended, AppendError> {
    let mut next = last(tx)?.next();
    let mut appended = Appended::default();
    for row in rows {
        let checksum = row.checksum.at(next);
        let values = values![next.get(), &row.source, &row.id, now.unix_ms(), &row.json, checksum];
        if tx.execute(INSERT, values)? == 1 {
            appended.sequences.push(next);
            let json = with_sequence(next, &row.json);
            appended.new.push(Logged { sequence: next, recorded_at: now, json });
            next = next.next();
            continue;
        }
        let (sequence, is_same) = tx.one(KNOWN, values![&row.source, &row.id], |stored| {
            Ok((Sequence::new(stored.int(0)?), row.is_same_event(stored.text(1)?)))
        })?;
        if !is_same {
            let (source_name, id) = (row.source.clone(), row.id.clone());
            return Err(AppendError::Conflict(IdConflict { source_name, id, sequence }));
        }
        appended.sequences.push(sequence);
    }
    Ok(appended)
}

/// The bus sets the sequence, not the publisher: it is stored apart and inserted here.
fn with_sequence(sequence: Sequence, envelope: &str) -> Arc<str> {
    format!("{{\"sequence\":\"{sequence}\",{}", envelope.get(1..).unwrap_or_default()).into()
}

/// The rows after a sequence, in the columns that [`checked`] reads.
pub(super) const AFTER: &str =
    "SELECT seq, source, id, recorded_at, envelope, checksum FROM events WHERE seq > $1 ORDER BY seq";

/// Checks that a row is the event of this sequence, as it was appended; returns when that was, and the envelope.
pub(super) fn checked<'r>(
    row: &'r Row<'_>,
    expected: Sequence,
) -> Result<Result<(Timestamp, &'r str), Damage>, SqlError> {
    if row.int::<i64>(0)? != expected.get() {
        return Ok(Err(Damage::Missing(expected)));
    }
    // Text that is not UTF-8 is damage of the row: it reads as empty, and the checksum differs.
    let text = |column| row.text(column).unwrap_or_default();
    let (source, id, envelope) = (text(1), text(2), text(4));
    let recorded_at = Timestamp::from_unix_ms(row.int(3)?);
    let whole = Checksum::of(source, id, recorded_at, envelope).at(expected) == row.int::<i64>(5)?;
    Ok(if whole { Ok((recorded_at, envelope)) } else { Err(Damage::Changed(expected)) })
}

/// Reads up to the first damaged event, and fails where that is the first of all.
fn read(
    tx: &Tx<'_>,
    after: Sequence,
    limit: usize,
    max_bytes: usize,
) -> Result<Result<Vec<Logged>, Damage>, SqlError> {
    let (mut events, mut bytes, mut sequence, mut damaged) = (Vec::new(), 0, after, None);
    tx.each(AFTER, values![after.get()], |row| {
        sequence = sequence.next();
        let (recorded_at, envelope) = match checked(row, sequence)? {
            Ok(whole) => whole,
            Err(damage) => {
                damaged = Some(damage);
                return Ok(ControlFlow::Break(()));
            }
        };
        bytes += envelope.len();
        if bytes > max_bytes && !events.is_empty() {
            return Ok(ControlFlow::Break(()));
        }
        events.push(Logged { sequence, recorded_at, json: with_sequence(sequence, envelope) });
        Ok(if events.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(damaged.filter(|_| events.is_empty()).map_or(Ok(events), Err))
}

impl EventLog for SqliteLog {
    fn append(
        &self,
        events: Vec<Envelope>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Sequence>, LogError>> {
        Box::pin(async move {
            let rows: Result<Vec<_>, _> = events.into_iter().map(|e| NewEvent::new(e, now)).collect();
            let rows = rows.map_err(|e| LogError::Unavailable(e.to_string()))?;
            let (head, recent) = (Arc::clone(&self.head), Arc::clone(&self.recent));
            // Places are given one after another.
            let guard = Guard::Key("log".to_owned());
            let write = move |tx: &Tx<'_>| append(tx, &rows, now).map(|appended| (appended, Durability::Now));
            // On disk now, and not before: readers and deliveries see the log only up to here. Also where the publisher
            // has left.
            let hand_on = move |appended: &Appended| {
                if let Some(last) = appended.new.last() {
                    recent.push(&appended.new);
                    head.send_replace(last.sequence);
                }
            };
            Ok(self.store.write_then(guard, write, hand_on).await?.sequences)
        })
    }

    fn read(
        &self,
        after: Sequence,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Logged>, LogError>> {
        Box::pin(async move {
            let head = *self.head.borrow();
            let limit = limit.min(usize::try_from(head.get() - after.get()).unwrap_or(0));
            if limit == 0 {
                return Ok(Vec::new());
            }
            let events = self.store.read(move |tx| read(tx, after, limit, max_bytes)).await;
            events?.map_err(|damage| LogError::Damaged {
                place: self.store.path().display().to_string(),
                what: damage.to_string(),
            })
        })
    }

    fn read_recent(&self, after: Sequence, limit: usize, max_bytes: usize) -> Option<Vec<Logged>> {
        self.recent.read(after, limit, max_bytes)
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }
}

#[cfg(test)]
mod tests;
