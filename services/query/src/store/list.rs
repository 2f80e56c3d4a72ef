//! Pages of posts.

use super::{POST, read_headline};
use crate::domain::Post;
use kit::store::{SqlError, Tx, values};
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
pub fn list(tx: &Tx<'_>, before: Option<(Timestamp, PostId)>, limit: usize) -> Result<Vec<Listed>, SqlError> {
    let (at, place, id) = match before {
        None => (i64::MAX, i64::MAX, String::new()),
        Some((at, id)) => (at.unix_ms(), place_of(tx, &id)?, id.into()),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    tx.query(&page_sql(), values![at, place, &id, limit], |row| {
        Ok(Listed { post: read_headline(row)?, excerpt: row.text(6)?.to_owned(), approved: row.int(7)? })
    })
}

fn page_sql() -> String {
    format!(
        "SELECT {POST}, coalesce(excerpt, ''), approved FROM posts WHERE (at, place, id) < ($1, $2, $3)
         ORDER BY at DESC, place DESC, id DESC LIMIT $4"
    )
}

/// The place of a post among those of the same time. A cursor whose post is not known comes after all of them: a
/// page may repeat some, but leaves none out.
fn place_of(tx: &Tx<'_>, id: &PostId) -> Result<i64, SqlError> {
    let place = tx.first("SELECT place FROM posts WHERE id = $1", values![id.as_str()], |row| row.int(0))?;
    Ok(place.unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::plan;

    #[test]
    fn a_page_is_read_from_the_index_and_from_no_other_table() {
        let steps = plan(&page_sql());
        assert_eq!(steps, ["SEARCH posts USING INDEX posts_by_age ((at,place,id)<(?,?,?))"]);
    }
}
