//! Comments, and the ids of the posts that they may belong to.

use crate::domain::Comment;
use kit::app::peer::tables;
use kit::store::{Migration, Row, Schema, SqlError, Tx, Value, values};
use shared::{CommentId, PostId, Timestamp};
use std::ops::ControlFlow;

pub const SCHEMA: Schema = Schema {
    present: &[
        tables::INBOX,
        tables::CURSOR_ROW,
        tables::OUTBOX,
        tables::DEAD_LETTERS,
        tables::IDEMPOTENCY,
        "
        CREATE TABLE posts (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
        CREATE TABLE comments (
            n INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            post_id TEXT NOT NULL,
            content TEXT NOT NULL,
            author TEXT NOT NULL,
            author_key TEXT,
            created_at INTEGER,
            status TEXT NOT NULL,
            reason TEXT,
            version INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX comments_of_post ON comments (post_id, n);
    ",
    ],
    history: MIGRATIONS,
    oldest_program: 5,
};

pub const MIGRATIONS: &[Migration] = &[
    kit::app::peer::SCHEMA,
    &["
        CREATE TABLE posts (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
        CREATE TABLE comments (
            n INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            post_id TEXT NOT NULL,
            content TEXT NOT NULL,
            author TEXT NOT NULL,
            author_key TEXT,
            created_at INTEGER,
            status TEXT NOT NULL,
            reason TEXT,
            version INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX comments_of_post ON comments (post_id, n);
    "],
    kit::app::peer::DEAD_LETTERS_BY_EVENT,
    kit::app::peer::DEAD_LETTERS_EVENT_COLUMNS,
    kit::app::peer::CURSOR_ROW,
];

pub fn add_post(tx: &Tx<'_>, id: &PostId) -> Result<(), SqlError> {
    let sql = "INSERT INTO posts (id) VALUES ($1) ON CONFLICT DO NOTHING";
    tx.execute(sql, values![id.as_str()]).map(drop)
}

pub fn post_exists(tx: &Tx<'_>, id: &PostId) -> Result<bool, SqlError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM posts WHERE id = $1)";
    tx.one(sql, values![id.as_str()], |row| row.bool(0))
}

pub fn find(tx: &Tx<'_>, id: &CommentId) -> Result<Option<Comment>, SqlError> {
    find_with_place(tx, id).map(|found| found.map(|(_, comment)| comment))
}

/// A comment with its place in the order in which comments were stored.
pub fn find_with_place(tx: &Tx<'_>, id: &CommentId) -> Result<Option<(i64, Comment)>, SqlError> {
    let sql = "
        SELECT n, id, post_id, content, author, author_key, created_at, status, reason, version
        FROM comments WHERE id = $1";
    tx.first(sql, values![id.as_str()], placed)
}

/// The place of the last comment of a post; 0 if there is none.
pub fn last_place(tx: &Tx<'_>, post_id: &PostId) -> Result<i64, SqlError> {
    let sql = "SELECT coalesce(max(n), 0) FROM comments WHERE post_id = $1";
    tx.one(sql, values![post_id.as_str()], |row| row.int(0))
}

/// Passes the comments of a post after one place, and up to another, to `take` in the order in which they were stored,
/// until it breaks.
pub fn in_order(
    tx: &Tx<'_>,
    post_id: &PostId,
    after: i64,
    up_to: i64,
    mut take: impl FnMut(i64, Comment) -> Result<ControlFlow<()>, SqlError>,
) -> Result<(), SqlError> {
    let sql = "
        SELECT n, id, post_id, content, author, author_key, created_at, status, reason, version
        FROM comments WHERE post_id = $1 AND n > $2 AND n <= $3 ORDER BY n";
    tx.each(sql, values![post_id.as_str(), after, up_to], |row| {
        let (place, comment) = placed(row)?;
        take(place, comment)
    })
    .map(drop)
}

/// Inserts a new comment; returns its place.
pub fn insert(tx: &Tx<'_>, comment: &Comment) -> Result<i64, SqlError> {
    let sql = "
        INSERT INTO comments (id, post_id, content, author, author_key, created_at, status, reason, version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING n";
    tx.one(sql, &columns(comment), |row| row.int(0))
}

/// Inserts a comment, or updates everything but its text and its post.
pub fn save(tx: &Tx<'_>, comment: &Comment) -> Result<(), SqlError> {
    let sql = "
        INSERT INTO comments (id, post_id, content, author, author_key, created_at, status, reason, version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (id) DO UPDATE SET author = excluded.author, author_key = excluded.author_key,
            created_at = excluded.created_at, status = excluded.status, reason = excluded.reason,
            version = excluded.version";
    tx.execute(sql, &columns(comment)).map(drop)
}

fn columns(comment: &Comment) -> [Value<'_>; 9] {
    [
        comment.id.as_str().into(),
        comment.post_id.as_str().into(),
        (&comment.content).into(),
        (&comment.author).into(),
        (&comment.author_key).into(),
        comment.created_at.map(Timestamp::unix_ms).into(),
        comment.status.as_str().into(),
        (&comment.reason).into(),
        comment.version.into(),
    ]
}

fn placed(row: &Row<'_>) -> Result<(i64, Comment), SqlError> {
    let comment = Comment {
        id: row.parsed(1)?,
        post_id: row.parsed(2)?,
        content: row.text(3)?.to_owned(),
        author: row.text(4)?.to_owned(),
        author_key: row.opt_text(5)?.map(str::to_owned),
        created_at: row.opt_int(6)?.map(Timestamp::from_unix_ms),
        status: row.parsed(7)?,
        reason: row.opt_text(8)?.map(str::to_owned),
        version: row.int(9)?,
    };
    Ok((row.int(0)?, comment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_tables_are_those_of_the_history() {
        kit::store::Memory::compare(&SCHEMA);
    }
}
