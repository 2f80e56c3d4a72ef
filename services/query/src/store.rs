//! The read model in SQLite.

use crate::domain::{Comment, Origin, Position, Post};
use kit::store::{Migration, parsed};
use rusqlite::{Connection, OptionalExtension, Row};
use shared::{CommentId, PostId, Sequence, Timestamp};
use std::fmt::Write;

/// No foreign keys: a comment may arrive before its post.
pub const MIGRATIONS: &[Migration] = &[
    kit::app::peer::SCHEMA,
    &["
        CREATE TABLE posts (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            version INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX posts_by_age ON posts (created_at, id);
        CREATE TABLE comments (
            id TEXT PRIMARY KEY,
            post_id TEXT NOT NULL,
            created INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            author TEXT NOT NULL,
            author_key TEXT,
            version INTEGER NOT NULL,
            status TEXT NOT NULL,
            content TEXT NOT NULL,
            reason TEXT
        ) STRICT;
        CREATE INDEX comments_of_post ON comments (post_id, created_at, id);
        -- The latest changes, for clients that reconnect: not part of the read model.
        CREATE TABLE changes (
            n INTEGER PRIMARY KEY AUTOINCREMENT,
            seq INTEGER NOT NULL,
            post_id TEXT NOT NULL,
            comment_id TEXT
        ) STRICT;
        CREATE INDEX changes_by_seq ON changes (seq);
    "],
    // Posts and comments gain their place in the log, which only the log knows: the log is delivered once more and merged
    // into what is here, so that readers miss nothing meanwhile. What an operator discarded stays discarded.
    &["
        ALTER TABLE posts RENAME TO old_posts;
        ALTER TABLE comments RENAME TO old_comments;
        DROP INDEX posts_by_age;
        DROP INDEX comments_of_post;
        DELETE FROM changes;
        DELETE FROM cursor;
        DELETE FROM dead_letters WHERE seq IS NOT NULL AND discarded_at IS NULL;
        CREATE TABLE posts (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER,
            seq INTEGER,
            version INTEGER NOT NULL,
            -- What posts are ordered by; what is not known comes first.
            at INTEGER NOT NULL AS (coalesce(created_at, 0)),
            place INTEGER NOT NULL AS (coalesce(seq, 0))
        ) STRICT;
        CREATE INDEX posts_by_age ON posts (at, place, id);
        CREATE TABLE comments (
            id TEXT PRIMARY KEY,
            post_id TEXT NOT NULL,
            created INTEGER NOT NULL,
            created_at INTEGER,
            seq INTEGER,
            author TEXT NOT NULL,
            author_key TEXT,
            version INTEGER NOT NULL,
            status TEXT NOT NULL,
            content TEXT NOT NULL,
            reason TEXT,
            at INTEGER NOT NULL AS (coalesce(created_at, 0)),
            place INTEGER NOT NULL AS (coalesce(seq, 0))
        ) STRICT;
        CREATE INDEX comments_of_post ON comments (post_id, at, place, id);
        INSERT INTO posts (id, title, body, author, created_at, seq, version)
            SELECT id, title, body, author, nullif(created_at, 0), NULL, version FROM old_posts;
        INSERT INTO comments (id, post_id, created, created_at, seq, author, author_key, version, status, content, reason)
            SELECT id, post_id, created, nullif(created_at, 0), NULL, author, author_key, version, status, content, reason
            FROM old_comments;
        DROP TABLE old_posts;
        DROP TABLE old_comments;
    "],
    kit::app::peer::DEAD_LETTERS_BY_EVENT,
];

/// How many changes are stored for clients that reconnect.
const KEPT_CHANGES: i64 = 10_000;

const POST: &str = "id, title, body, author, created_at, seq, version";
const COMMENT: &str =
    "id, post_id, created, created_at, seq, author, author_key, version, status, content, reason";

pub fn post(c: &Connection, id: &PostId) -> rusqlite::Result<Option<Post>> {
    c.prepare_cached(&format!("SELECT {POST} FROM posts WHERE id = ?1"))?
        .query_row([id.as_str()], read_post)
        .optional()
}

pub fn comment(c: &Connection, id: &CommentId) -> rusqlite::Result<Option<Comment>> {
    c.prepare_cached(&format!("SELECT {COMMENT} FROM comments WHERE id = ?1"))?
        .query_row([id.as_str()], read_comment)
        .optional()
}

/// The comments of a post, oldest first.
pub fn comments_of(c: &Connection, id: &PostId) -> rusqlite::Result<Vec<Comment>> {
    c.prepare_cached(&format!("SELECT {COMMENT} FROM comments WHERE post_id = ?1 ORDER BY at, place, id"))?
        .query_map([id.as_str()], read_comment)?
        .collect()
}

/// All posts, oldest first.
pub fn all_posts(c: &Connection) -> rusqlite::Result<Vec<Post>> {
    c.prepare_cached(&format!("SELECT {POST} FROM posts ORDER BY at, place, id"))?
        .query_map([], read_post)?
        .collect()
}

/// Posts before a cursor, newest first, each with the number of its approved comments.
pub fn page(
    c: &Connection,
    before: Option<(Timestamp, PostId)>,
    limit: usize,
) -> rusqlite::Result<Vec<(Post, u64)>> {
    let (at, place, id) = match before {
        None => (i64::MAX, i64::MAX, String::new()),
        Some((at, id)) => (at.unix_ms(), place_of(c, &id)?, id.into()),
    };
    c.prepare_cached(&format!(
        "SELECT {POST}, (SELECT count(*) FROM comments WHERE post_id = posts.id AND status = 'approved')
         FROM posts WHERE (at, place, id) < (?1, ?2, ?3) ORDER BY at DESC, place DESC, id DESC LIMIT ?4"
    ))?
    .query_map((at, place, id, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
        Ok((read_post(row)?, row.get::<_, i64>(7)?.unsigned_abs()))
    })?
    .collect()
}

/// The place of a post among those of the same time. A cursor whose post is not known comes after all of them: a
/// page may repeat some, but leaves none out.
fn place_of(c: &Connection, id: &PostId) -> rusqlite::Result<i64> {
    let place = c
        .prepare_cached("SELECT place FROM posts WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    Ok(place.unwrap_or(i64::MAX))
}

/// Merges what an event says about a post; returns whether that changed anything.
pub fn merge_post(tx: &Connection, said: Post) -> rusqlite::Result<bool> {
    let known = post(tx, &said.id)?;
    let merged = known.clone().map_or(said.clone(), |known| known.merge(said));
    if known.as_ref() == Some(&merged) {
        return Ok(false);
    }
    tx.prepare_cached(&format!("INSERT OR REPLACE INTO posts ({POST}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"))?
        .execute((
            merged.id.as_str(),
            &merged.title,
            &merged.body,
            &merged.author,
            merged.position.created_at.map(Timestamp::unix_ms),
            merged.position.sequence.map(Sequence::get),
            merged.version,
        ))?;
    Ok(true)
}

/// Merges what an event says about a comment; returns whether that changed anything.
pub fn merge_comment(tx: &Connection, said: Comment) -> rusqlite::Result<bool> {
    let known = comment(tx, &said.id)?;
    let merged = known.clone().map_or(said.clone(), |known| known.merge(said));
    if known.as_ref() == Some(&merged) {
        return Ok(false);
    }
    let (origin, position) = (merged.origin.as_ref(), merged.position());
    tx.prepare_cached(&format!(
        "INSERT OR REPLACE INTO comments ({COMMENT}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?
    .execute((
        merged.id.as_str(),
        merged.post_id.as_str(),
        origin.is_some(),
        position.created_at.map(Timestamp::unix_ms),
        position.sequence.map(Sequence::get),
        origin.map_or("", |o| o.author.as_str()),
        origin.and_then(|o| o.author_key.as_deref()),
        merged.version,
        merged.status.as_str(),
        &merged.content,
        &merged.reason,
    ))?;
    Ok(true)
}

/// A change of the read model, for `GET /live`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Counts the changes of this store; never used twice.
    pub n: i64,
    /// The event that caused it.
    pub sequence: Sequence,
    pub post_id: PostId,
    /// `None` if the post itself changed.
    pub comment_id: Option<CommentId>,
}

pub fn note_change(
    tx: &Connection,
    sequence: Sequence,
    post_id: &PostId,
    comment_id: Option<&CommentId>,
) -> rusqlite::Result<()> {
    let n = tx
        .prepare_cached("INSERT INTO changes (seq, post_id, comment_id) VALUES (?1, ?2, ?3)")?
        .insert((sequence.get(), post_id.as_str(), comment_id.map(CommentId::as_str)))?;
    tx.prepare_cached("DELETE FROM changes WHERE n <= ?1")?.execute([n - KEPT_CHANGES])?;
    Ok(())
}

/// The number of the last change, and the sequence of its event.
pub fn last_change(c: &Connection) -> rusqlite::Result<(i64, Sequence)> {
    let last = c
        .prepare_cached("SELECT n, seq FROM changes ORDER BY n DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, Sequence::new(row.get(1)?))))
        .optional()?;
    Ok(last.unwrap_or((0, Sequence::START)))
}

/// Changes after the `n`-th, oldest first.
pub fn changes_after(c: &Connection, n: i64, limit: i64) -> rusqlite::Result<Vec<Change>> {
    c.prepare_cached("SELECT n, seq, post_id, comment_id FROM changes WHERE n > ?1 ORDER BY n LIMIT ?2")?
        .query_map([n, limit], read_change)?
        .collect()
}

/// The number of the change that a client received last, found by the sequence of its event.
///
/// A redriven event is applied late although its place in the log is early, so a client resumes after that change and
/// not after that place. If the change is not stored (any more), the client resumes before the first change of a later
/// event. Receiving a change twice does no harm, as each one carries the current state.
pub fn change_at(c: &Connection, sequence: Sequence) -> rusqlite::Result<i64> {
    if sequence == Sequence::START {
        return Ok(0);
    }
    c.prepare_cached(
        "SELECT coalesce(
             (SELECT min(n) FROM changes WHERE seq = ?1),
             (SELECT min(n) - 1 FROM changes WHERE seq > ?1),
             (SELECT max(n) FROM changes),
             0)",
    )?
    .query_row([sequence.get()], |row| row.get(0))
}

/// The whole read model as text, one row per line, ordered by id, for comparison with a rebuilt one.
pub fn dump(c: &Connection) -> rusqlite::Result<String> {
    let mut text = String::new();
    let mut posts = c.prepare(&format!("SELECT json_array('post', {POST}) FROM posts ORDER BY id"))?;
    let mut comments =
        c.prepare(&format!("SELECT json_array('comment', {COMMENT}) FROM comments ORDER BY id"))?;
    for statement in [&mut posts, &mut comments] {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let _ = writeln!(text, "{}", row.get_ref(0)?.as_str()?);
        }
    }
    Ok(text)
}

fn read_post(row: &Row<'_>) -> rusqlite::Result<Post> {
    Ok(Post {
        id: parsed(row, 0)?,
        title: row.get(1)?,
        body: row.get(2)?,
        author: row.get(3)?,
        position: read_position(row, 4)?,
        version: row.get(6)?,
    })
}

fn read_comment(row: &Row<'_>) -> rusqlite::Result<Comment> {
    let origin = if row.get(2)? {
        Some(Origin { position: read_position(row, 3)?, author: row.get(5)?, author_key: row.get(6)? })
    } else {
        None
    };
    Ok(Comment {
        id: parsed(row, 0)?,
        post_id: parsed(row, 1)?,
        origin,
        version: row.get(7)?,
        status: parsed(row, 8)?,
        content: row.get(9)?,
        reason: row.get(10)?,
    })
}

fn read_position(row: &Row<'_>, column: usize) -> rusqlite::Result<Position> {
    Ok(Position {
        created_at: row.get::<_, Option<i64>>(column)?.map(Timestamp::from_unix_ms),
        sequence: row.get::<_, Option<i64>>(column + 1)?.map(Sequence::new),
    })
}

fn read_change(row: &Row<'_>) -> rusqlite::Result<Change> {
    let comment_id =
        if row.get_ref(3)? == rusqlite::types::ValueRef::Null { None } else { Some(parsed(row, 3)?) };
    Ok(Change { n: row.get(0)?, sequence: Sequence::new(row.get(1)?), post_id: parsed(row, 2)?, comment_id })
}
