//! Pages of posts.

use super::{POST, read_headline};
use crate::domain::Post;
use rusqlite::{Connection, OptionalExtension};
use shared::{PostId, Timestamp};

/// A post in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Without its body.
    pub post: Post,
    pub excerpt: String,
    /// The number of its approved comments.
    pub approved: u64,
}

/// Posts before a cursor, newest first.
pub fn list(
    c: &Connection,
    before: Option<(Timestamp, PostId)>,
    limit: usize,
) -> rusqlite::Result<Vec<Listed>> {
    let (at, place, id) = match before {
        None => (i64::MAX, i64::MAX, String::new()),
        Some((at, id)) => (at.unix_ms(), place_of(c, &id)?, id.into()),
    };
    c.prepare_cached(&page_sql())?
        .query_map((at, place, id, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
            let approved = row.get::<_, i64>(7)?.unsigned_abs();
            Ok(Listed { post: read_headline(row)?, excerpt: row.get(6)?, approved })
        })?
        .collect()
}

fn page_sql() -> String {
    format!(
        "SELECT {POST}, coalesce(excerpt, ''), approved FROM posts WHERE (at, place, id) < (?1, ?2, ?3)
         ORDER BY at DESC, place DESC, id DESC LIMIT ?4"
    )
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
