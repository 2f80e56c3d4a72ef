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
pub use schema::{MIGRATIONS, SCHEMA};
pub use thread::{Comments, ThreadPage, thread};

use crate::domain::{Comment, Origin, Position, Post, excerpt};
use kit::store::{Row, SqlError, Tx, values};
use shared::{CommentId, PostId, Sequence, Timestamp};
use std::fmt::Write;
use std::ops::ControlFlow;

/// The columns of a post, and with [`WITH_BODY`] its body.
const POST: &str = "id, title, author, created_at, seq, version";
const WITH_BODY: &str = "FROM posts LEFT JOIN bodies ON post_id = id";
const COMMENT: &str =
    "id, post_id, created, created_at, seq, author, author_key, version, status, content, reason";
/// How many excerpts one write computes.
const EXCERPTS: i64 = 256;

pub fn post(tx: &Tx<'_>, id: &PostId) -> Result<Option<Post>, SqlError> {
    counted_post(tx, id).map(|found| found.map(|(post, _)| post))
}

/// A post, and the number of its approved comments.
pub fn counted_post(tx: &Tx<'_>, id: &PostId) -> Result<Option<(Post, u64)>, SqlError> {
    let sql = format!("SELECT {POST}, coalesce(body, ''), approved {WITH_BODY} WHERE id = $1");
    tx.first(&sql, values![id.as_str()], |row| {
        Ok((Post { body: row.text(6)?.to_owned(), ..read_headline(row)? }, row.int(7)?))
    })
}

/// A post without its body.
pub fn headline(tx: &Tx<'_>, id: &PostId) -> Result<Option<Post>, SqlError> {
    tx.first(&format!("SELECT {POST} FROM posts WHERE id = $1"), values![id.as_str()], read_headline)
}

/// Whether the post, and the comment if one is named, is known.
pub fn is_known(tx: &Tx<'_>, post: &PostId, comment: Option<&CommentId>) -> Result<bool, SqlError> {
    let found = match comment {
        None => tx.first("SELECT 1 FROM posts WHERE id = $1", values![post.as_str()], |_| Ok(())),
        Some(comment) => tx.first(
            "SELECT 1 FROM posts, comments WHERE posts.id = $1 AND comments.id = $2 AND post_id = $1",
            values![post.as_str(), comment.as_str()],
            |_| Ok(()),
        ),
    };
    found.map(|found| found.is_some())
}

/// The number of approved comments of a post; nothing while the post is not known.
pub fn approved(tx: &Tx<'_>, id: &PostId) -> Result<Option<u64>, SqlError> {
    tx.first("SELECT approved FROM posts WHERE id = $1", values![id.as_str()], |row| row.int(0))
}

pub fn comment(tx: &Tx<'_>, id: &CommentId) -> Result<Option<Comment>, SqlError> {
    tx.first(&format!("SELECT {COMMENT} FROM comments WHERE id = $1"), values![id.as_str()], read_comment)
}

/// Whether a migration left excerpts out.
pub fn lacks_excerpts(tx: &Tx<'_>) -> Result<bool, SqlError> {
    tx.one("SELECT EXISTS (SELECT 1 FROM posts WHERE excerpt IS NULL)", &[], |row| row.bool(0))
}

/// Computes some of the excerpts that a migration left out; returns how many.
pub fn fill_excerpts(tx: &Tx<'_>) -> Result<usize, SqlError> {
    let sql = format!("SELECT id, coalesce(body, '') {WITH_BODY} WHERE excerpt IS NULL LIMIT $1");
    let rows =
        tx.query(&sql, values![EXCERPTS], |row| Ok((row.text(0)?.to_owned(), excerpt(row.text(1)?))))?;
    for (id, excerpt) in &rows {
        tx.execute("UPDATE posts SET excerpt = $1 WHERE id = $2", values![excerpt, id])?;
    }
    Ok(rows.len())
}

/// The whole read model as text, one row per line, ordered by id, for comparison with a rebuilt one.
pub fn dump(tx: &Tx<'_>) -> Result<String, SqlError> {
    let mut text = String::new();
    let posts = format!(
        "SELECT json_array('post', id, title, coalesce(body, ''), author, created_at, seq, version, excerpt, approved)
         {WITH_BODY} ORDER BY id"
    );
    let comments = format!("SELECT json_array('comment', {COMMENT}) FROM comments ORDER BY id");
    for sql in [posts, comments] {
        tx.each(&sql, &[], |row| {
            let _ = writeln!(text, "{}", row.text(0)?);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(text)
}

fn read_headline(row: &Row<'_>) -> Result<Post, SqlError> {
    Ok(Post {
        id: row.parsed(0)?,
        title: row.text(1)?.to_owned(),
        body: String::new(),
        author: row.text(2)?.to_owned(),
        position: read_position(row, 3)?,
        version: row.int(5)?,
    })
}

fn read_comment(row: &Row<'_>) -> Result<Comment, SqlError> {
    let origin = if row.bool(2)? {
        Some(Origin {
            position: read_position(row, 3)?,
            author: row.text(5)?.to_owned(),
            author_key: row.opt_text(6)?.map(str::to_owned),
        })
    } else {
        None
    };
    Ok(Comment {
        id: row.parsed(0)?,
        post_id: row.parsed(1)?,
        origin,
        version: row.int(7)?,
        status: row.parsed(8)?,
        content: row.text(9)?.to_owned(),
        reason: row.opt_text(10)?.map(str::to_owned),
    })
}

fn read_position(row: &Row<'_>, column: usize) -> Result<Position, SqlError> {
    Ok(Position {
        created_at: row.opt_int(column)?.map(Timestamp::from_unix_ms),
        sequence: row.opt_int(column + 1)?.map(Sequence::new),
    })
}

#[cfg(test)]
pub(crate) mod tests;
