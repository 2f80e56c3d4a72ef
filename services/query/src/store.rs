//! The read model in SQLite.

mod changes;
mod list;
mod merge;
mod pending;
mod rows;
mod schema;
mod thread;

pub use changes::{
    Change, MOST_OF_A_DELIVERY, MovedPost, change_at, changes_after, first_change, last_change, last_move,
    note_move, posts_moved_after,
};
pub use list::{Listed, list};
pub use merge::{merge_comment, merge_post};
pub use pending::Pending;
pub use rows::{Entry, Spot, Touched, rows_after, touched_after};
pub use schema::MIGRATIONS;
pub use thread::{Comments, ThreadPage, thread};

use crate::domain::{Comment, Origin, Position, Post, excerpt};
use kit::store::parsed;
use rusqlite::{Connection, OptionalExtension, Row};
use shared::{CommentId, PostId, Sequence, Timestamp};
use std::fmt::Write;

/// The columns of a post, and with [`WITH_BODY`] its body.
const POST: &str = "id, title, author, created_at, seq, version";
const WITH_BODY: &str = "FROM posts LEFT JOIN bodies ON post_id = id";
const COMMENT: &str =
    "id, post_id, created, created_at, seq, author, author_key, version, status, content, reason";
/// How many excerpts one write computes.
const EXCERPTS: i64 = 256;

pub fn post(c: &Connection, id: &PostId) -> rusqlite::Result<Option<Post>> {
    counted_post(c, id).map(|found| found.map(|(post, _)| post))
}

/// A post, and the number of its approved comments.
pub fn counted_post(c: &Connection, id: &PostId) -> rusqlite::Result<Option<(Post, u64)>> {
    c.prepare_cached(&format!("SELECT {POST}, coalesce(body, ''), approved {WITH_BODY} WHERE id = ?1"))?
        .query_row([id.as_str()], |row| {
            let approved = row.get::<_, i64>(7)?.unsigned_abs();
            Ok((Post { body: row.get(6)?, ..read_headline(row)? }, approved))
        })
        .optional()
}

/// A post without its body.
pub fn headline(c: &Connection, id: &PostId) -> rusqlite::Result<Option<Post>> {
    c.prepare_cached(&format!("SELECT {POST} FROM posts WHERE id = ?1"))?
        .query_row([id.as_str()], read_headline)
        .optional()
}

/// Whether the post, and the comment if one is named, is known.
pub fn is_known(c: &Connection, post: &PostId, comment: Option<&CommentId>) -> rusqlite::Result<bool> {
    let known = match comment {
        None => c.prepare_cached("SELECT 1 FROM posts WHERE id = ?1")?.exists([post.as_str()])?,
        Some(comment) => c
            .prepare_cached(
                "SELECT 1 FROM posts, comments WHERE posts.id = ?1 AND comments.id = ?2 AND post_id = ?1",
            )?
            .exists([post.as_str(), comment.as_str()])?,
    };
    Ok(known)
}

/// The number of approved comments of a post; nothing while the post is not known.
pub fn approved(c: &Connection, id: &PostId) -> rusqlite::Result<Option<u64>> {
    let count = c
        .prepare_cached("SELECT approved FROM posts WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(count.map(i64::unsigned_abs))
}

pub fn comment(c: &Connection, id: &CommentId) -> rusqlite::Result<Option<Comment>> {
    c.prepare_cached(&format!("SELECT {COMMENT} FROM comments WHERE id = ?1"))?
        .query_row([id.as_str()], read_comment)
        .optional()
}

/// Whether a migration left excerpts out.
pub fn lacks_excerpts(c: &Connection) -> rusqlite::Result<bool> {
    c.query_row("SELECT EXISTS (SELECT 1 FROM posts WHERE excerpt IS NULL)", [], |row| row.get(0))
}

/// Computes some of the excerpts that a migration left out; returns how many.
pub fn fill_excerpts(tx: &Connection) -> rusqlite::Result<usize> {
    let rows = tx
        .prepare(&format!("SELECT id, coalesce(body, '') {WITH_BODY} WHERE excerpt IS NULL LIMIT ?1"))?
        .query_map([EXCERPTS], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    let mut update = tx.prepare("UPDATE posts SET excerpt = ?2 WHERE id = ?1")?;
    for (id, body) in &rows {
        update.execute((id, excerpt(body)))?;
    }
    Ok(rows.len())
}

/// The whole read model as text, one row per line, ordered by id, for comparison with a rebuilt one.
pub fn dump(c: &Connection) -> rusqlite::Result<String> {
    let mut text = String::new();
    let mut posts = c.prepare(&format!(
        "SELECT json_array('post', id, title, coalesce(body, ''), author, created_at, seq, version, excerpt, approved)
         {WITH_BODY} ORDER BY id"
    ))?;
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

fn read_headline(row: &Row<'_>) -> rusqlite::Result<Post> {
    Ok(Post {
        id: parsed(row, 0)?,
        title: row.get(1)?,
        body: String::new(),
        author: row.get(2)?,
        position: read_position(row, 3)?,
        version: row.get(5)?,
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

#[cfg(test)]
pub(crate) mod tests;
