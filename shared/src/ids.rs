//! Ids of posts and comments.
//!
//! Ours are UUIDs of version 7, but no code may rely on that: the course's services use eight hex digits, and a log
//! written by them must stay readable. An id is opaque text that is safe in a URL and as a JSON key.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest id accepted, in bytes.
pub const MAX_ID_LEN: usize = 64;

/// The text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to {MAX_ID_LEN} characters out of A-Z, a-z, 0-9, '-' and '_'")]
pub struct BadId;

fn check(text: &str) -> Result<(), BadId> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if text.is_empty() || text.len() > MAX_ID_LEN || !text.bytes().all(safe) { Err(BadId) } else { Ok(()) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                check(&text).map(|()| Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// The id of a post.
    PostId
}
id! {
    /// The id of a comment.
    CommentId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_safe_in_a_url_and_as_a_json_key() {
        for good in ["a", "a1b2c3d4", "0197-f00d_X", "__proto__", &"x".repeat(MAX_ID_LEN)] {
            assert_eq!(good.parse::<PostId>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", "a b", "a/b", "..", "a.b", "%2e", "ä", "a\n", &"x".repeat(MAX_ID_LEN + 1)] {
            assert_eq!(bad.parse::<PostId>(), Err(BadId), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_id_does_not_deserialize() {
        assert!(serde_json::from_str::<CommentId>("\"../x\"").is_err());
        assert!(serde_json::from_str::<CommentId>("{}").is_err());
    }
}
