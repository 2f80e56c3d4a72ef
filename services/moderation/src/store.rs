//! Verdicts, and comments that wait for a person.

use crate::domain::Verdict;
use kit::app::peer::tables;
use kit::store::{Migration, Row, Schema, SqlError, Tx, values};
use serde::Serialize;
use shared::events::CommentCreated;
use shared::{CommentId, Envelope, Timestamp};

pub const SCHEMA: Schema = Schema {
    present: &[
        tables::INBOX,
        tables::CURSOR_ROW,
        tables::OUTBOX,
        tables::DEAD_LETTERS,
        tables::IDEMPOTENCY,
        "
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
    ",
    ],
    history: MIGRATIONS,
    oldest_program: 5,
};

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
    kit::app::peer::DEAD_LETTERS_EVENT_COLUMNS,
    kit::app::peer::CURSOR_ROW,
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

pub fn verdict(tx: &Tx<'_>, id: &CommentId) -> Result<Option<Verdict>, SqlError> {
    let sql = "SELECT status, reason, rule FROM verdicts WHERE comment_id = $1";
    tx.first(sql, values![id.as_str()], |row| {
        let text = |column| row.opt_text(column).map(|text| text.map(str::to_owned));
        Ok(Verdict { status: row.parsed(0)?, reason: text(1)?, rule: text(2)? })
    })
}

/// Stores a verdict, in place of an earlier one that differs, and takes the comment off the queue.
pub fn decide(tx: &Tx<'_>, id: &CommentId, verdict: &Verdict) -> Result<(), SqlError> {
    tx.execute("DELETE FROM held WHERE comment_id = $1", values![id.as_str()])?;
    tx.execute(
        "INSERT INTO verdicts (comment_id, status, reason, rule) VALUES ($1, $2, $3, $4)
         ON CONFLICT (comment_id) DO UPDATE
             SET status = excluded.status, reason = excluded.reason, rule = excluded.rule
             WHERE (verdicts.status, verdicts.reason, verdicts.rule)
                 IS DISTINCT FROM (excluded.status, excluded.reason, excluded.rule)",
        values![id.as_str(), verdict.status.as_str(), &verdict.reason, &verdict.rule],
    )?;
    Ok(())
}

pub fn hold(
    tx: &Tx<'_>,
    id: &CommentId,
    rule: &str,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<(), SqlError> {
    let json = serde_json::to_string(envelope).map_err(SqlError::data)?;
    tx.execute(
        "INSERT INTO held (comment_id, rule, envelope, held_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        values![id.as_str(), rule, &json, now.unix_ms()],
    )?;
    Ok(())
}

pub fn find_held(tx: &Tx<'_>, id: &CommentId) -> Result<Option<Held>, SqlError> {
    let sql = "SELECT rule, envelope, held_at FROM held WHERE comment_id = $1";
    tx.first(sql, values![id.as_str()], held)
}

/// The comments that wait for a person, oldest first; at most `MAX_QUEUE`.
pub fn queue(tx: &Tx<'_>) -> Result<Vec<Held>, SqlError> {
    let sql = "SELECT rule, envelope, held_at FROM held ORDER BY held_at, comment_id LIMIT $1";
    tx.query(sql, values![MAX_QUEUE], held)
}

fn held(row: &Row<'_>) -> Result<Held, SqlError> {
    let envelope: Envelope = serde_json::from_str(row.text(1)?).map_err(SqlError::data)?;
    let comment = serde_json::from_str(envelope.data.get()).map_err(SqlError::data)?;
    let held_at = Timestamp::from_unix_ms(row.int(2)?);
    Ok(Held { comment, rule: row.text(0)?.to_owned(), held_at, envelope })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_tables_are_those_of_the_history() {
        kit::store::Memory::compare(&SCHEMA);
    }
}
