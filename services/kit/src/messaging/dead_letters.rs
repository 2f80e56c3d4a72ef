//! Events that could not be applied, and those of the same post that wait behind them.
//!
//! A poison event stops only its own key: it is parked here, every later event of the key is parked behind it, and
//! everything else goes on. A redrive applies a key's events in their order and stops at the first that still
//! fails. An event leaves this table only when it is applied. A discarded event stays on record here, and the discard
//! is published: when a lost store is rebuilt, the log parks the event again and then discards it again.

use crate::store::{Row, SqlError, Tx, values};
use shared::bus::DeadLetterView;
use shared::{Envelope, Sequence, Timestamp};
use std::ops::ControlFlow;

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

/// Columns instead of [`BY_EVENT`], for a still later one.
pub const EVENT_COLUMNS: &str = "
    DROP INDEX dead_letters_by_event;
    ALTER TABLE dead_letters ADD COLUMN event_source TEXT;
    ALTER TABLE dead_letters ADD COLUMN event_id TEXT;
    UPDATE dead_letters SET event_source = envelope ->> '$.source', event_id = envelope ->> '$.id';
    CREATE INDEX dead_letters_by_event ON dead_letters (event_id, event_source);
";

/// The table and its indexes after all of these.
pub const PRESENT: &str = "
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL,
        seq INTEGER,
        envelope TEXT NOT NULL,
        error TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        parked_at INTEGER NOT NULL,
        discarded_at INTEGER,
        event_source TEXT,
        event_id TEXT
    ) STRICT;
    CREATE INDEX dead_letters_waiting ON dead_letters (key, id) WHERE discarded_at IS NULL;
    CREATE INDEX dead_letters_by_event ON dead_letters (event_id, event_source);
";

/// Finds the dead letter of an event by its id and source.
const FIND: &str = "
    SELECT id, key, discarded_at IS NOT NULL FROM dead_letters
    WHERE event_id = $1 AND event_source = $2 ORDER BY id LIMIT 1";

/// Whether the event of this sequence and id is discarded.
const IS_DISCARDED: &str = "
    SELECT EXISTS (SELECT 1 FROM dead_letters
    WHERE event_id IS NOT DISTINCT FROM $1 AND seq = $2 AND discarded_at IS NOT NULL)";

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
pub fn any(tx: &Tx<'_>) -> Result<bool, SqlError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM dead_letters WHERE discarded_at IS NULL)";
    tx.one(sql, &[], |row| row.bool(0))
}

/// Whether an event of this key is parked.
pub fn waits(tx: &Tx<'_>, key: &str) -> Result<bool, SqlError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM dead_letters WHERE key = $1 AND discarded_at IS NULL)";
    tx.one(sql, values![key], |row| row.bool(0))
}

/// Parks an event after `attempts` failed attempts (0 if it only waits).
pub(crate) fn park(
    tx: &Tx<'_>,
    key: &str,
    envelope: &Envelope,
    error: &str,
    attempts: u32,
    now: Timestamp,
) -> Result<(), SqlError> {
    let json = serde_json::to_string(envelope).map_err(SqlError::data)?;
    let seq = envelope.sequence.map(Sequence::get);
    let error: String = error.chars().take(1_000).collect();
    tx.execute(
        "INSERT INTO dead_letters (key, seq, event_source, event_id, envelope, error, attempts, parked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        values![key, seq, &envelope.source, &envelope.id, &json, &error, attempts, now.unix_ms()],
    )?;
    Ok(())
}

/// The waiting events, oldest first, after the dead letter `after`: at most `limit`, and at most a mebibyte of them.
pub fn list(tx: &Tx<'_>, after: i64, limit: usize) -> Result<Vec<DeadLetterView>, SqlError> {
    let (mut letters, mut bytes) = (Vec::new(), 0);
    let sql = "
        SELECT id, key, seq, envelope, error, attempts, parked_at FROM dead_letters
        WHERE id > $1 AND discarded_at IS NULL ORDER BY id LIMIT $2";
    tx.each(sql, values![after, limit.min(MAX_LIST) as i64], |row| {
        bytes += row.text(3)?.len();
        if bytes > LIST_BYTES && !letters.is_empty() {
            return Ok(ControlFlow::Break(()));
        }
        letters.push(view(row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(letters)
}

fn view(row: &Row<'_>) -> Result<DeadLetterView, SqlError> {
    Ok(DeadLetterView {
        id: row.int(0)?,
        key: row.text(1)?.to_owned(),
        sequence: row.opt_int(2)?.map(Sequence::new),
        event: envelope(row, 3)?,
        error: row.text(4)?.to_owned(),
        attempts: row.int(5)?,
        parked_at: Timestamp::from_unix_ms(row.int(6)?),
    })
}

fn envelope(row: &Row<'_>, column: usize) -> Result<Envelope, SqlError> {
    serde_json::from_str(row.text(column)?).map_err(SqlError::data)
}

/// The key and the event of a waiting dead letter.
pub(crate) fn waiting(tx: &Tx<'_>, id: i64) -> Result<Option<(String, Envelope)>, SqlError> {
    let sql = "SELECT key, envelope FROM dead_letters WHERE id = $1 AND discarded_at IS NULL";
    tx.first(sql, values![id], |row| Ok((row.text(0)?.to_owned(), envelope(row, 1)?)))
}

/// The dead letter of an event.
pub(crate) fn find(tx: &Tx<'_>, source: &str, id: &str) -> Result<Option<Letter>, SqlError> {
    tx.first(FIND, values![id, source], |row| {
        Ok(Letter { id: row.int(0)?, key: row.text(1)?.to_owned(), discarded: row.bool(2)? })
    })
}

/// Whether this event is on record as discarded: one that is delivered again is not parked again.
pub(crate) fn is_discarded(tx: &Tx<'_>, envelope: &Envelope) -> Result<bool, SqlError> {
    let event = values![&envelope.id, envelope.sequence.map(Sequence::get)];
    tx.one(IS_DISCARDED, event, |row| row.bool(0))
}

/// The waiting events of a key, in order.
pub(crate) fn of_key(tx: &Tx<'_>, key: &str) -> Result<Vec<Parked>, SqlError> {
    let sql = "SELECT id, envelope FROM dead_letters WHERE key = $1 AND discarded_at IS NULL ORDER BY id";
    tx.query(sql, values![key], |row| Ok(Parked { id: row.int(0)?, envelope: envelope(row, 1)? }))
}

/// Removes an event that was applied.
pub(crate) fn applied(tx: &Tx<'_>, id: i64) -> Result<(), SqlError> {
    tx.execute("DELETE FROM dead_letters WHERE id = $1", values![id]).map(drop)
}

/// Counts another failed attempt.
pub(crate) fn failed_again(tx: &Tx<'_>, id: i64, error: &str) -> Result<(), SqlError> {
    let error: String = error.chars().take(1_000).collect();
    let sql = "UPDATE dead_letters SET attempts = attempts + 1, error = $1 WHERE id = $2";
    tx.execute(sql, values![&error, id]).map(drop)
}

/// Marks an event as discarded; it stays on record.
pub(crate) fn discard(tx: &Tx<'_>, id: i64, now: Timestamp) -> Result<(), SqlError> {
    let sql = "UPDATE dead_letters SET discarded_at = $1 WHERE id = $2";
    tx.execute(sql, values![now.unix_ms(), id]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[test]
    fn letters_of_earlier_versions_are_found() {
        const EARLIER: &str = r#"INSERT INTO dead_letters (key, seq, envelope, error, attempts, parked_at, discarded_at) VALUES
            ('p', 1, '{"id":"one","source":"/posts","type":"PostCreated","data":{}}', '', 1, 0, 5),
            ('p', 2, '{"id":"two","source":"/posts","type":"PostCreated","data":{}}', '', 1, 0, NULL)"#;
        let memory = Memory::new(&[&[SCHEMA, BY_EVENT, EARLIER, EVENT_COLUMNS]]);
        let tx = &memory.tx();
        let found = |id| find(tx, "/posts", id).unwrap().map(|letter| (letter.id, letter.discarded));
        assert_eq!((found("one"), found("two"), found("three")), (Some((1, true)), Some((2, false)), None));
    }

    #[test]
    fn an_event_is_found_by_an_index() {
        let memory = Memory::new(&[&[SCHEMA, BY_EVENT, EVENT_COLUMNS]]);
        for sql in [FIND, IS_DISCARDED] {
            let plan = format!("EXPLAIN QUERY PLAN {sql}");
            let detail = |row: &Row<'_>| Ok(row.text(3)?.to_owned());
            let steps = memory.tx().query(&plan, values![1_i64, 2_i64], detail).unwrap();
            let found = "SEARCH dead_letters USING INDEX dead_letters_by_event";
            assert!(steps.iter().any(|step| step.starts_with(found)), "{sql}: {steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN dead_letters")), "{sql}: {steps:?}");
        }
    }
}
