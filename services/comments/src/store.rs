//! Comments in SQLite, and the ids of the posts that they may belong to.

use crate::domain::Comment;
use kit::store::{Migration, parsed};
use rusqlite::{Connection, OptionalExtension, Row};
use shared::{CommentId, PostId, Timestamp};

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
];

const COLUMNS: &str = "id, post_id, content, author, author_key, created_at, status, reason, version";

pub fn add_post(tx: &Connection, id: &PostId) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO posts (id) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([id.as_str()])
        .map(drop)
}

pub fn post_exists(c: &Connection, id: &PostId) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT EXISTS (SELECT 1 FROM posts WHERE id = ?1)")?
        .query_row([id.as_str()], |row| row.get(0))
}

pub fn find(c: &Connection, id: &CommentId) -> rusqlite::Result<Option<Comment>> {
    find_with_place(c, id).map(|found| found.map(|(_, comment)| comment))
}

/// A comment with its place in the order in which comments were stored.
pub fn find_with_place(c: &Connection, id: &CommentId) -> rusqlite::Result<Option<(i64, Comment)>> {
    c.prepare_cached(&format!("SELECT n, {COLUMNS} FROM comments WHERE id = ?1"))?
        .query_row([id.as_str()], placed)
        .optional()
}

/// The place of the last comment of a post; 0 if there is none.
pub fn last_place(c: &Connection, post_id: &PostId) -> rusqlite::Result<i64> {
    c.prepare_cached("SELECT coalesce(max(n), 0) FROM comments WHERE post_id = ?1")?
        .query_row([post_id.as_str()], |row| row.get(0))
}

/// Passes the comments of a post after one place, and up to another, to `take` in the order in which they were stored.
/// Reads only those that it takes.
pub fn in_order<T>(
    c: &Connection,
    post_id: &PostId,
    after: i64,
    up_to: i64,
    take: impl FnOnce(&mut dyn Iterator<Item = rusqlite::Result<(i64, Comment)>>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT n, {COLUMNS} FROM comments WHERE post_id = ?1 AND n > ?2 AND n <= ?3 ORDER BY n"
    ))?;
    take(&mut statement.query_map((post_id.as_str(), after, up_to), placed)?)
}

/// Inserts a new comment; returns its place.
pub fn insert(tx: &Connection, comment: &Comment) -> rusqlite::Result<i64> {
    save(tx, comment)?;
    Ok(tx.last_insert_rowid())
}

/// Inserts a comment, or updates everything but its text and its post.
pub fn save(tx: &Connection, comment: &Comment) -> rusqlite::Result<()> {
    tx.prepare_cached(&format!(
        "INSERT INTO comments ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (id) DO UPDATE SET author = excluded.author, author_key = excluded.author_key,
             created_at = excluded.created_at, status = excluded.status, reason = excluded.reason,
             version = excluded.version"
    ))?
    .execute((
        comment.id.as_str(),
        comment.post_id.as_str(),
        &comment.content,
        &comment.author,
        &comment.author_key,
        comment.created_at.map(Timestamp::unix_ms),
        comment.status.as_str(),
        &comment.reason,
        comment.version,
    ))?;
    Ok(())
}

fn placed(row: &Row<'_>) -> rusqlite::Result<(i64, Comment)> {
    let comment = Comment {
        id: parsed(row, 1)?,
        post_id: parsed(row, 2)?,
        content: row.get(3)?,
        author: row.get(4)?,
        author_key: row.get(5)?,
        created_at: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_unix_ms),
        status: parsed(row, 7)?,
        reason: row.get(8)?,
        version: row.get(9)?,
    };
    Ok((row.get(0)?, comment))
}
