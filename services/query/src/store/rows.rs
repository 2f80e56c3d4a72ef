//! Posts and their comments in the order in which `GET /posts` writes them: oldest post first, each followed by its
//! comments, oldest first.

use super::{COMMENT, read_comment, read_position};
use crate::domain::{Comment, Key, Post};
use kit::store::{Row, SqlError, Tx, values};
use std::ops::ControlFlow;

/// Where a row stands. A post comes before its comments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub post: Key,
    /// Nothing where the row is the post itself.
    pub comment: Option<Key>,
}

/// A post without its body, or a comment.
#[derive(Debug)]
pub enum Entry {
    Post(Post),
    Comment(Comment),
}

/// Passes the rows after a spot (or all) in order to `take` until it breaks; returns whether it never did. Neither sorts
/// nor reads more rows than it passes on.
pub fn rows_after(
    tx: &Tx<'_>,
    after: Option<&Spot>,
    mut take: impl FnMut(Spot, Entry) -> Result<ControlFlow<()>, SqlError>,
) -> Result<bool, SqlError> {
    if let Some(spot) = after
        && !rest_of_post(tx, spot, &mut take)?
    {
        return Ok(false);
    }
    let first = Key::first();
    let key = after.map_or(&first, |spot| &spot.post);
    let mut current: Option<Key> = None;
    tx.each(&posts_sql(), values![key.at, key.place, &key.id], |row| {
        let key = match current.take() {
            Some(key) if key.id == row.text(POST_COLUMN)? => key,
            _ => {
                let post = read_post(row)?;
                let key = post.key();
                if take(Spot { post: key.clone(), comment: None }, Entry::Post(post))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                key
            }
        };
        let flow = if row.opt_text(0)?.is_some() {
            let comment = read_comment(row)?;
            let spot = Spot { post: key.clone(), comment: Some(comment.key()) };
            take(spot, Entry::Comment(comment))?
        } else {
            ControlFlow::Continue(())
        };
        current = Some(key);
        Ok(flow)
    })
}

/// The comments after a spot, if its post still stands there.
fn rest_of_post(
    tx: &Tx<'_>,
    spot: &Spot,
    take: &mut impl FnMut(Spot, Entry) -> Result<ControlFlow<()>, SqlError>,
) -> Result<bool, SqlError> {
    let first = Key::first();
    let (post, comment) = (&spot.post, spot.comment.as_ref().unwrap_or(&first));
    let values = values![&post.id, comment.at, comment.place, &comment.id, post.at, post.place];
    tx.each(&comments_sql(), values, |row| {
        let comment = read_comment(row)?;
        let spot = Spot { post: post.clone(), comment: Some(comment.key()) };
        take(spot, Entry::Comment(comment))
    })
}

/// The first column of the post in a row of [`posts_sql`]; before it stand those of [`COMMENT`].
const POST_COLUMN: usize = 11;

fn posts_sql() -> String {
    let comment: Vec<String> = COMMENT.split(", ").map(|column| format!("c.{column}")).collect();
    format!(
        "SELECT {}, p.id, p.title, p.author, p.created_at, p.seq, p.version
         FROM posts p LEFT JOIN comments c ON c.post_id = p.id
         WHERE (p.at, p.place, p.id) > ($1, $2, $3)
         ORDER BY p.at, p.place, p.id, c.at, c.place, c.id",
        comment.join(", ")
    )
}

fn comments_sql() -> String {
    format!(
        "SELECT {COMMENT} FROM comments WHERE post_id = $1 AND (at, place, id) > ($2, $3, $4)
             AND EXISTS (SELECT 1 FROM posts WHERE posts.id = $1 AND posts.at = $5 AND posts.place = $6)
         ORDER BY at, place, id"
    )
}

fn read_post(row: &Row<'_>) -> Result<Post, SqlError> {
    Ok(Post {
        id: row.parsed(POST_COLUMN)?,
        title: row.text(POST_COLUMN + 1)?.to_owned(),
        body: String::new(),
        author: row.text(POST_COLUMN + 2)?.to_owned(),
        position: read_position(row, POST_COLUMN + 3)?,
        version: row.int(POST_COLUMN + 5)?,
    })
}

/// Where the rows stand that changed after the `n`-th change, and the number of the last of these changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Oldest change first. Comments without a post are left out.
    pub spots: Vec<Spot>,
    pub last: i64,
}

/// The spots of at most `limit` changes after the `n`-th; nothing where some of these changes are not stored any more.
pub fn touched_after(tx: &Tx<'_>, n: i64, limit: i64) -> Result<Option<Touched>, SqlError> {
    let mut touched = Touched { spots: Vec::new(), last: n };
    let are_all = tx.each(TOUCHED, values![n, limit], |row| {
        let change: i64 = row.int(0)?;
        if change != touched.last + 1 {
            return Ok(ControlFlow::Break(()));
        }
        touched.last = change;
        if let Some(post) = read_key(row, 1)? {
            touched.spots.push(Spot { post, comment: read_key(row, 4)? });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(are_all.then_some(touched))
}

const TOUCHED: &str = "
    SELECT n, p.at, p.place, p.id, k.at, k.place, k.id
    FROM changes LEFT JOIN comments k ON k.id = comment_id
        LEFT JOIN posts p ON p.id = coalesce(k.post_id, changes.post_id)
    WHERE n > $1 ORDER BY n LIMIT $2";

fn read_key(row: &Row<'_>, column: usize) -> Result<Option<Key>, SqlError> {
    let Some(id) = row.opt_text(column + 2)? else { return Ok(None) };
    Ok(Some(Key { at: row.int(column)?, place: row.int(column + 1)?, id: id.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::plan;

    #[test]
    fn no_row_is_scanned_or_sorted_that_is_not_answered() {
        let expected = [
            (
                posts_sql(),
                vec![
                    "SEARCH p USING INDEX posts_by_age ((at,place,id)>(?,?,?))",
                    "SEARCH c USING INDEX comments_of_post (post_id=?) LEFT-JOIN",
                ],
            ),
            (
                comments_sql(),
                vec![
                    "SEARCH posts EXISTS USING INDEX posts_by_age (at=? AND place=? AND id=?)",
                    "SEARCH comments USING INDEX comments_of_post (post_id=? AND (at,place,id)>(?,?,?))",
                ],
            ),
            (
                TOUCHED.to_owned(),
                vec![
                    "SEARCH changes USING INTEGER PRIMARY KEY (rowid>?)",
                    "SEARCH k USING INDEX sqlite_autoindex_comments_1 (id=?) LEFT-JOIN",
                    "SEARCH p USING INDEX sqlite_autoindex_posts_1 (id=?) LEFT-JOIN",
                ],
            ),
        ];
        for (sql, steps) in expected {
            assert_eq!(plan(&sql), steps);
        }
    }
}
