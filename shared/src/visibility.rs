//! Who may read which text of a comment. The services that show comments all apply this one rule.
//!
//! | status | text and author | reason |
//! |---|---|---|
//! | pending | the author's name for everybody, the text for its author only | nobody |
//! | approved | everybody | nobody |
//! | rejected | nobody | everybody |

use crate::events::Status;
use crate::ids::CommentId;
use crate::time::Timestamp;
use crate::views::CommentView;

/// A comment with everything that is stored about it. It must not leave a service: [`StoredComment::view`] makes of
/// it what a reader may see.
#[derive(Debug, Clone, Copy)]
pub struct StoredComment<'a> {
    /// From `CommentCreated`, or from the first event about the comment that has arrived.
    pub id: &'a CommentId,
    /// Decides who may read the text.
    pub status: Status,
    /// The text, readable or not.
    pub content: &'a str,
    /// The name that the author entered; may be empty.
    pub author: &'a str,
    /// The fingerprint of the author's cookie, from `CommentCreated`.
    pub author_key: Option<&'a str>,
    /// Why it was rejected.
    pub reason: Option<&'a str>,
    /// When it was written, if an event says so.
    pub created_at: Option<Timestamp>,
    /// The number of its changes, from 1.
    pub version: u32,
}

impl StoredComment<'_> {
    /// The comment as this reader may see it. `reader_key` is the fingerprint of the reader's cookie; without a
    /// cookie, the view is the one for everybody.
    pub fn view(self, reader_key: Option<&str>) -> CommentView {
        let mine = reader_key.is_some() && self.author_key == reader_key;
        let is_readable = match self.status {
            Status::Approved => true,
            Status::Pending => mine,
            Status::Rejected => false,
        };
        let is_rejected = self.status == Status::Rejected;
        CommentView {
            id: self.id.clone(),
            content: if is_readable { self.content.to_owned() } else { String::new() },
            status: self.status,
            author: if is_rejected { String::new() } else { self.author.to_owned() },
            reason: self.reason.filter(|_| is_rejected).map(str::to_owned),
            created_at: self.created_at,
            version: Some(self.version),
            mine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader sees of Ada's comment: text, author's name, reason, and whether it is the reader's own.
    fn seen(status: Status, author_key: Option<&str>, reader: Option<&str>) -> [String; 4] {
        let comment = StoredComment {
            id: &"c".parse().unwrap(),
            status,
            content: "text",
            author: "Ada",
            author_key,
            reason: Some("reason"),
            created_at: None,
            version: 1,
        };
        let view = comment.view(reader);
        let mine = if view.mine { "mine" } else { "" };
        [view.content, view.author, view.reason.unwrap_or_default(), mine.to_owned()]
    }

    #[test]
    fn approved_text_is_public_and_pending_text_is_its_authors() {
        for reader in [None, Some("bob"), Some("")] {
            assert_eq!(seen(Status::Approved, Some("ada"), reader), ["text", "Ada", "", ""]);
            assert_eq!(seen(Status::Pending, Some("ada"), reader), ["", "Ada", "", ""]);
        }
        assert_eq!(seen(Status::Approved, Some("ada"), Some("ada")), ["text", "Ada", "", "mine"]);
        assert_eq!(seen(Status::Pending, Some("ada"), Some("ada")), ["text", "Ada", "", "mine"]);
    }

    #[test]
    fn rejected_text_is_shown_to_nobody_and_the_name_goes_with_it() {
        for reader in [None, Some("bob")] {
            assert_eq!(seen(Status::Rejected, Some("ada"), reader), ["", "", "reason", ""]);
        }
        assert_eq!(seen(Status::Rejected, Some("ada"), Some("ada")), ["", "", "reason", "mine"]);
    }

    #[test]
    fn a_comment_without_a_key_is_nobodys() {
        for reader in [None, Some("ada"), Some("")] {
            assert_eq!(seen(Status::Pending, None, reader), ["", "Ada", "", ""]);
        }
    }
}
