//! Events that could not be applied, and those of the same post that wait behind them.
//!
//! A poison event stops only its own key: it is parked here, every later event of the key is parked behind it, and
//! everything else goes on. A redrive applies a key's events in their order and stops at the first that still
//! fails. An event leaves this table only when it is applied. A discarded event stays on record here, and the discard
//! is published: when a lost store is rebuilt, the log parks the event again and then discards it again.

use rusqlite::{Connection, OptionalExtension, Row};
use shared::bus::DeadLetterView;
use shared::{Envelope, Sequence, Timestamp};

/// The table, for a service's first migration.
pub const SCHEMA: &str = "
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL,
        seq INTEGER,
        envelope TEXT NOT NULL,
        error TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        parked_at INTEGER NOT NULL,
        discarded_at INTEGER
    ) STRICT;
    CREATE INDEX dead_letters_waiting ON dead_letters (key, id) WHERE discarded_at IS NULL;
";

/// The index by which a discarded event is found, for a later migration of every service.
pub const BY_EVENT: &str = "
    CREATE INDEX dead_letters_by_event ON dead_letters (envelope ->> '$.id', envelope ->> '$.source');
";

/// Finds the dead letter of an event by its id and source.
const FIND: &str = "
    SELECT id, key, discarded_at IS NOT NULL FROM dead_letters
    WHERE envelope ->> '$.id' = ?1 AND envelope ->> '$.source' = ?2 ORDER BY id LIMIT 1";

/// Whether the event of this sequence and id is discarded.
const IS_DISCARDED: &str = "
    SELECT EXISTS (SELECT 1 FROM dead_letters
    WHERE seq = ?1 AND discarded_at IS NOT NULL AND envelope ->> '$.id' IS ?2)";

/// The error of an event that only waits behind another.
pub const WAITS: &str = "waits behind an earlier event of the same key";

/// The most dead letters in one list.
pub const MAX_LIST: usize = 1_000;
/// The most bytes of events in one list, unless one event alone is larger.
const LIST_BYTES: usize = 1024 * 1024;

/// An event that waits to be redriven.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) id: i64,
    pub(crate) envelope: Envelope,
}

/// A dead letter, waiting or discarded.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) discarded: bool,
}

/// Whether any event is parked.
pub fn any(c: &Connection) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT EXISTS (SELECT 1 FROM dead_letters WHERE discarded_at IS NULL)")?
        .query_row([], |row| row.get(0))
}

/// Whether an event of this key is parked.
pub fn waits(c: &Connection, key: &str) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT EXISTS (SELECT 1 FROM dead_letters WHERE key = ?1 AND discarded_at IS NULL)")?
        .query_row([key], |row| row.get(0))
}

/// Parks an event after `attempts` failed attempts (0 if it only waits).
pub(crate) fn park(
    tx: &Connection,
    key: &str,
    envelope: &Envelope,
    error: &str,
    attempts: u32,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let json =
        serde_json::to_string(envelope).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    let seq = envelope.sequence.map(Sequence::get);
    let error: String = error.chars().take(1_000).collect();
    tx.prepare_cached(
        "INSERT INTO dead_letters (key, seq, envelope, error, attempts, parked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((key, seq, json, error, attempts, now.unix_ms()))?;
    Ok(())
}

/// The waiting events, oldest first, after the dead letter `after`: at most `limit`, and at most a mebibyte of them.
pub fn list(c: &Connection, after: i64, limit: usize) -> rusqlite::Result<Vec<DeadLetterView>> {
    let mut statement = c.prepare_cached(
        "SELECT id, key, seq, envelope, error, attempts, parked_at FROM dead_letters
         WHERE id > ?1 AND discarded_at IS NULL ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query((after, limit.min(MAX_LIST) as i64))?;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        bytes += row.get_ref(3)?.as_str()?.len();
        if bytes > LIST_BYTES && !letters.is_empty() {
            break;
        }
        letters.push(view(row)?);
    }
    Ok(letters)
}

fn view(row: &Row<'_>) -> rusqlite::Result<DeadLetterView> {
    Ok(DeadLetterView {
        id: row.get(0)?,
        key: row.get(1)?,
        sequence: row.get::<_, Option<i64>>(2)?.map(Sequence::new),
        event: envelope(row, 3)?,
        error: row.get(4)?,
        attempts: row.get(5)?,
        parked_at: Timestamp::from_unix_ms(row.get(6)?),
    })
}

fn envelope(row: &Row<'_>, column: usize) -> rusqlite::Result<Envelope> {
    let json: String = row.get(column)?;
    serde_json::from_str(&json).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e))
    })
}

/// The key and the event of a waiting dead letter.
pub(crate) fn waiting(c: &Connection, id: i64) -> rusqlite::Result<Option<(String, Envelope)>> {
    c.prepare_cached("SELECT key, envelope FROM dead_letters WHERE id = ?1 AND discarded_at IS NULL")?
        .query_row([id], |row| Ok((row.get(0)?, envelope(row, 1)?)))
        .optional()
}

/// The dead letter of an event.
pub(crate) fn find(c: &Connection, source: &str, id: &str) -> rusqlite::Result<Option<Letter>> {
    c.prepare_cached(FIND)?
        .query_row([id, source], |row| {
            Ok(Letter { id: row.get(0)?, key: row.get(1)?, discarded: row.get(2)? })
        })
        .optional()
}

/// Whether this event is on record as discarded: one that is delivered again is not parked again.
pub(crate) fn is_discarded(c: &Connection, envelope: &Envelope) -> rusqlite::Result<bool> {
    c.prepare_cached(IS_DISCARDED)?
        .query_row((envelope.sequence.map(Sequence::get), &envelope.id), |row| row.get(0))
}

/// The waiting events of a key, in order.
pub(crate) fn of_key(c: &Connection, key: &str) -> rusqlite::Result<Vec<Parked>> {
    c.prepare_cached(
        "SELECT id, envelope FROM dead_letters WHERE key = ?1 AND discarded_at IS NULL ORDER BY id",
    )?
    .query_map([key], |row| Ok(Parked { id: row.get(0)?, envelope: envelope(row, 1)? }))?
    .collect()
}

/// Removes an event that was applied.
pub(crate) fn applied(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?.execute([id]).map(drop)
}

/// Counts another failed attempt.
pub(crate) fn failed_again(tx: &Connection, id: i64, error: &str) -> rusqlite::Result<()> {
    let error: String = error.chars().take(1_000).collect();
    tx.prepare_cached("UPDATE dead_letters SET attempts = attempts + 1, error = ?2 WHERE id = ?1")?
        .execute((id, error))
        .map(drop)
}

/// Marks an event as discarded; it stays on record.
pub(crate) fn discard(tx: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE dead_letters SET discarded_at = ?2 WHERE id = ?1")?
        .execute((id, now.unix_ms()))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_by_an_index() {
        let c = Connection::open_in_memory().unwrap();
        for sql in [SCHEMA, BY_EVENT] {
            c.execute_batch(sql).unwrap();
        }
        for sql in [FIND, IS_DISCARDED] {
            let mut plan = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = plan.query_map((1, 2), |row| row.get("detail")).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            let found = "SEARCH dead_letters USING INDEX dead_letters_by_event";
            assert!(steps.iter().any(|step| step.starts_with(found)), "{sql}: {steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN dead_letters")), "{sql}: {steps:?}");
        }
    }
}
