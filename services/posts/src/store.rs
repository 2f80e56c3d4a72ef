//! Posts in SQLite.

use kit::store::{Migration, parsed};
use rusqlite::{Connection, OptionalExtension, Row};
use shared::Timestamp;
use shared::events::PostCreated;
use shared::views::PostView;

pub const MIGRATIONS: &[Migration] = &[
    kit::app::peer::SCHEMA,
    &["
        CREATE TABLE posts (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER,
            version INTEGER
        ) STRICT;
        CREATE INDEX posts_by_age ON posts (created_at, id);
    "],
    // Of the same time, the post that was stored first is the older one.
    &["
        DROP INDEX posts_by_age;
        CREATE INDEX posts_by_age ON posts (created_at);
    "],
    kit::app::peer::DEAD_LETTERS_BY_EVENT,
];

/// A post that is already stored stays as it is.
pub fn insert(tx: &Connection, post: &PostCreated) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO posts (id, title, body, author, created_at, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
    )?
    .execute((
        post.id.as_str(),
        &post.title,
        &post.body,
        &post.author,
        post.created_at.map(Timestamp::unix_ms),
        post.version,
    ))?;
    Ok(())
}

/// A post with its body.
pub fn find(c: &Connection, id: &str) -> rusqlite::Result<Option<PostView>> {
    c.prepare_cached("SELECT id, title, body, author, created_at, version, rowid FROM posts WHERE id = ?1")?
        .query_row([id], placed)
        .optional()
        .map(|found| found.map(|(_, post)| post))
}

/// Where a post stands among the others: by its time, those without a time first, and then by the order in which they
/// were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    created_at: Option<i64>,
    row: i64,
}

impl Position {
    /// Before all posts.
    pub const START: Self = Self { created_at: None, row: 0 };
}

/// The row of the post that was stored last; 0 if there is none.
pub fn last_row(c: &Connection) -> rusqlite::Result<i64> {
    c.prepare_cached("SELECT coalesce(max(rowid), 0) FROM posts")?.query_row([], |row| row.get(0))
}

/// Passes the posts after a position, of those up to a row, to `take`: oldest first, without their bodies. Reads only
/// those that it takes.
pub fn in_order<T>(
    c: &Connection,
    after: Position,
    up_to: i64,
    take: impl FnOnce(&mut dyn Iterator<Item = rusqlite::Result<(Position, PostView)>>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    const COLUMNS: &str = "SELECT id, title, '', author, created_at, version, rowid FROM posts";
    // Two statements: no comparison of SQL puts those without a time before the others.
    let mut of_same_time = c.prepare_cached(&format!(
        "{COLUMNS} WHERE created_at IS ?1 AND rowid > ?2 AND rowid <= ?3 ORDER BY rowid"
    ))?;
    let mut later = c.prepare_cached(&format!(
        "{COLUMNS} WHERE created_at > ?1 AND rowid <= ?2 ORDER BY created_at, rowid"
    ))?;
    let of_same_time = of_same_time.query_map((after.created_at, after.row, up_to), placed)?;
    let later = later.query_map((after.created_at.unwrap_or(i64::MIN), up_to), placed)?;
    take(&mut of_same_time.chain(later))
}

fn placed(row: &Row<'_>) -> rusqlite::Result<(Position, PostView)> {
    let created_at: Option<i64> = row.get(4)?;
    let post = PostView {
        id: parsed(row, 0)?,
        title: row.get(1)?,
        body: row.get(2)?,
        author: row.get(3)?,
        created_at: created_at.map(Timestamp::from_unix_ms),
        version: row.get(5)?,
    };
    Ok((Position { created_at, row: row.get(6)? }, post))
}
