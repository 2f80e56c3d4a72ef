//! Posts in SQLite.

use kit::store::{Migration, parsed};
use rusqlite::{Connection, Row};
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

/// All posts, oldest first, without their bodies.
pub fn all(c: &Connection) -> rusqlite::Result<Vec<PostView>> {
    c.prepare_cached("SELECT id, title, author, created_at, version FROM posts ORDER BY created_at, rowid")?
        .query_map([], view)?
        .collect()
}

fn view(row: &Row<'_>) -> rusqlite::Result<PostView> {
    Ok(PostView {
        id: parsed(row, 0)?,
        title: row.get(1)?,
        body: String::new(),
        author: row.get(2)?,
        created_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_unix_ms),
        version: row.get(4)?,
    })
}
