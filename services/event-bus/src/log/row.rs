//! Events as rows of a table, in whichever database: how they are made, recognised, and checked when they are read.

use super::checksum::Checksum;
use super::{IdConflict, LogError, Logged};
use kit::store::{ReadError, Row, SqlError, Tx, WriteError, values};
use shared::{Envelope, Sequence, Timestamp};
use std::ops::ControlFlow;
use std::sync::Arc;

/// An event as a row. Serialised before the transaction, for which others wait.
#[derive(Debug)]
pub(super) struct NewEvent {
    pub(super) source: String,
    pub(super) id: String,
    pub(super) json: String,
    pub(super) checksum: Checksum,
}

impl NewEvent {
    pub(super) fn new(mut envelope: Envelope, now: Timestamp) -> Result<Self, serde_json::Error> {
        envelope.sequence = None;
        let json = serde_json::to_string(&envelope)?;
        let (source, id) = (envelope.source.unwrap_or_default(), envelope.id.unwrap_or_default());
        let checksum = Checksum::of(&source, &id, now, &json);
        Ok(Self { source, id, json, checksum })
    }

    /// Whether a stored envelope of the same `source` and `id` is the same event. An event that was caused by
    /// another one, and is published again after its publisher lost its store, may have another `time` and `traceparent`.
    pub(super) fn is_same_event(&self, stored: &str) -> bool {
        if stored == self.json {
            return true;
        }
        let read = |json| serde_json::from_str::<Envelope>(json);
        let (Ok(stored), Ok(new)) = (read(stored), read(&self.json)) else { return false };
        let data = |e: &Envelope| serde_json::from_str::<serde_json::Value>(e.data.get()).ok();
        let same_data = || stored.data.get() == new.data.get() || data(&stored) == data(&new);
        stored.kind == new.kind && stored.key() == new.key() && same_data()
    }

    /// The error that the log holds another event of the same `source` and `id`, at this sequence.
    pub(super) fn conflict(&self, sequence: Sequence) -> IdConflict {
        IdConflict { source_name: self.source.clone(), id: self.id.clone(), sequence }
    }
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
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
pub(super) struct Appended {
    /// Of each event, whether it is new or not.
    pub(super) sequences: Vec<Sequence>,
    /// Those that are new, in order.
    pub(super) new: Vec<Logged>,
}

/// The bus sets the sequence, not the publisher: it is stored apart and inserted here.
pub(super) fn with_sequence(sequence: Sequence, envelope: &str) -> Arc<str> {
    format!("{{\"sequence\":\"{sequence}\",{}", envelope.get(1..).unwrap_or_default()).into()
}

/// The rows after a sequence, at most as many, in the columns that [`checked`] reads.
pub(super) const AFTER: &str = "
    SELECT seq, source, id, recorded_at, envelope, checksum FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";

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

/// Reads up to the first damaged event, and fails where that is the first of all, or is missing: `limit` is not beyond the
/// end of the log.
pub(super) fn read(
    tx: &Tx<'_>,
    after: Sequence,
    limit: usize,
    max_bytes: usize,
) -> Result<Result<Vec<Logged>, Damage>, SqlError> {
    let (mut events, mut bytes, mut sequence, mut damaged) = (Vec::new(), 0, after, None);
    tx.each(AFTER, values![after.get(), rows(limit)], |row| {
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
    let missing = || Damage::Missing(after.next());
    Ok(if events.is_empty() { Err(damaged.unwrap_or_else(missing)) } else { Ok(events) })
}

/// A `LIMIT`.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
