//! Verdicts, and comments that wait for a person, in SQLite.

use crate::domain::Verdict;
use kit::store::{Migration, parsed};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use shared::events::CommentCreated;
use shared::{CommentId, Envelope, Timestamp};

pub const MIGRATIONS: &[Migration] = &[
    kit::app::peer::SCHEMA,
    &["
        CREATE TABLE verdicts (
            comment_id TEXT PRIMARY KEY,
            status TEXT NOT NULL,
            reason TEXT,
            rule TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE held (
            comment_id TEXT PRIMARY KEY,
            rule TEXT NOT NULL,
            envelope TEXT NOT NULL,
            held_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX held_by_age ON held (held_at);
    "],
    kit::app::peer::DEAD_LETTERS_BY_EVENT,
];

/// The longest queue in one answer.
const MAX_QUEUE: i64 = 1_000;

/// A comment that waits for a person, stored with the event that created it: the verdict names that event as its cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    pub comment: CommentCreated,
    /// The id of the rule that holds it.
    pub rule: String,
    pub held_at: Timestamp,
    #[serde(skip)]
    pub envelope: Envelope,
}

pub fn verdict(c: &Connection, id: &CommentId) -> rusqlite::Result<Option<Verdict>> {
    c.prepare_cached("SELECT status, reason, rule FROM verdicts WHERE comment_id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok(Verdict { status: parsed(row, 0)?, reason: row.get(1)?, rule: row.get(2)? })
        })
        .optional()
}

/// Stores a verdict, in place of an earlier one that differs, and takes the comment off the queue.
pub fn decide(tx: &Connection, id: &CommentId, verdict: &Verdict) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM held WHERE comment_id = ?1")?.execute([id.as_str()])?;
    tx.prepare_cached(
        "INSERT INTO verdicts (comment_id, status, reason, rule) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET status = excluded.status, reason = excluded.reason, rule = excluded.rule
         WHERE (status, reason, rule) IS NOT (excluded.status, excluded.reason, excluded.rule)",
    )?
    .execute((id.as_str(), verdict.status.as_str(), &verdict.reason, &verdict.rule))?;
    Ok(())
}

pub fn hold(
    tx: &Connection,
    id: &CommentId,
    rule: &str,
    envelope: &Envelope,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let json =
        serde_json::to_string(envelope).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    tx.prepare_cached(
        "INSERT INTO held (comment_id, rule, envelope, held_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?
    .execute((id.as_str(), rule, json, now.unix_ms()))?;
    Ok(())
}

pub fn find_held(c: &Connection, id: &CommentId) -> rusqlite::Result<Option<Held>> {
    c.prepare_cached("SELECT rule, envelope, held_at FROM held WHERE comment_id = ?1")?
        .query_row([id.as_str()], held)
        .optional()
}

/// The comments that wait for a person, oldest first; at most `MAX_QUEUE`.
pub fn queue(c: &Connection) -> rusqlite::Result<Vec<Held>> {
    c.prepare_cached("SELECT rule, envelope, held_at FROM held ORDER BY held_at, comment_id LIMIT ?1")?
        .query_map([MAX_QUEUE], held)?
        .collect()
}

fn held(row: &Row<'_>) -> rusqlite::Result<Held> {
    let bad = |e: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(e));
    let envelope: Envelope = serde_json::from_str(row.get_ref(1)?.as_str()?).map_err(bad)?;
    let comment = serde_json::from_str(envelope.data.get()).map_err(bad)?;
    let held_at = Timestamp::from_unix_ms(row.get(2)?);
    Ok(Held { comment, rule: row.get(0)?, held_at, envelope })
}
