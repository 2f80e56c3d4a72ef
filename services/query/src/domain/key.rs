//! Where a post stands among all posts, and a comment among those of its post.

use std::fmt;
use std::str::FromStr;

/// What posts and comments are ordered by, in the store as in answers. As text it is a cursor, opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The time of its creation, in milliseconds since 1970; 0 where that is not known.
    pub at: i64,
    /// Its place in the log; 0 where that is not known.
    pub place: i64,
    pub id: String,
}

impl Key {
    /// Before every key.
    pub fn first() -> Self {
        Self { at: i64::MIN, place: i64::MIN, id: String::new() }
    }

    /// After every key.
    pub fn last() -> Self {
        Self { at: i64::MAX, place: i64::MAX, id: "\u{10ffff}".to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}~{}", self.at, self.place, self.id)
    }
}

/// The text is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKey;

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let (at, rest) = text.split_once('~').ok_or(BadKey)?;
        let (place, id) = rest.split_once('~').ok_or(BadKey)?;
        let number = |text: &str| text.parse().map_err(|_| BadKey);
        // Any id of a comment: the same rule holds for all.
        let id: shared::CommentId = id.parse().map_err(|_| BadKey)?;
        Ok(Self { at: number(at)?, place: number(place)?, id: id.into() })
    }
}
