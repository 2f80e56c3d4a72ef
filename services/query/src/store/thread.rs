//! Pages of the comments of one post. Each is read from the index on its own side of a key, so that its cost does not
//! depend on the length of the thread.

use super::{COMMENT, read_comment};
use crate::domain::{Comment, Key};
use kit::store::{SqlError, Tx, values};
use shared::{CommentId, PostId};

/// Which comments of a post a page holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreadPage {
    Newest,
    Oldest,
    Before(Key),
    After(Key),
    /// The newest where the post has no such comment.
    Around(CommentId),
}

/// A page of comments, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comments {
    pub comments: Vec<Comment>,
    pub has_earlier: bool,
    pub has_later: bool,
}

/// The page, with at most `limit` comments.
pub fn thread(tx: &Tx<'_>, post: &PostId, page: &ThreadPage, limit: usize) -> Result<Comments, SqlError> {
    let all_before =
        |key: &Key| read(tx, post, Side::Before, key, limit + 1).map(|older| (older, Vec::new()));
    let all_after = |key: &Key| read(tx, post, Side::After, key, limit + 1).map(|newer| (Vec::new(), newer));
    let (mut older, mut newer) = match page {
        ThreadPage::Newest => all_before(&Key::last())?,
        ThreadPage::Before(key) => all_before(key)?,
        ThreadPage::Oldest => all_after(&Key::first())?,
        ThreadPage::After(key) => all_after(key)?,
        ThreadPage::Around(id) => match key_of(tx, post, id)? {
            Some(key) => {
                (read(tx, post, Side::Before, &key, limit + 1)?, read(tx, post, Side::From, &key, limit + 1)?)
            }
            None => all_before(&Key::last())?,
        },
    };
    // The comment in question in the middle, or as near to it as the ends of the thread allow.
    let newer_shown = newer.len().min(limit.div_ceil(2).max(limit.saturating_sub(older.len())));
    let older_shown = older.len().min(limit - newer_shown);
    let (mut has_earlier, mut has_later) = (older.len() > older_shown, newer.len() > newer_shown);
    older.truncate(older_shown);
    newer.truncate(newer_shown);
    let comments: Vec<Comment> = older.into_iter().rev().chain(newer).collect();
    if !comments.is_empty() {
        // A cursor is the key of a comment, which this page leaves out.
        has_later |= matches!(page, ThreadPage::Before(_));
        has_earlier |= matches!(page, ThreadPage::After(_));
    }
    Ok(Comments { comments, has_earlier, has_later })
}

/// Which comments to read, seen from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Newest first.
    Before,
    /// Oldest first, beginning with the one that has the key.
    From,
    /// Oldest first.
    After,
}

fn sql(side: Side) -> String {
    let (comparison, order) = match side {
        Side::Before => ("<", "DESC"),
        Side::From => (">=", "ASC"),
        Side::After => (">", "ASC"),
    };
    format!(
        "SELECT {COMMENT} FROM comments WHERE post_id = $1 AND (at, place, id) {comparison} ($2, $3, $4)
         ORDER BY at {order}, place {order}, id {order} LIMIT $5"
    )
}

fn read(tx: &Tx<'_>, post: &PostId, side: Side, key: &Key, count: usize) -> Result<Vec<Comment>, SqlError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    tx.query(&sql(side), values![post.as_str(), key.at, key.place, &key.id, count], read_comment)
}

fn key_of(tx: &Tx<'_>, post: &PostId, comment: &CommentId) -> Result<Option<Key>, SqlError> {
    let sql = "SELECT at, place, id FROM comments WHERE id = $1 AND post_id = $2";
    tx.first(sql, values![comment.as_str(), post.as_str()], |row| {
        Ok(Key { at: row.int(0)?, place: row.int(1)?, id: row.text(2)?.to_owned() })
    })
}

#[cfg(test)]
mod tests;
