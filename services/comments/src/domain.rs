//! What a comment is, and what a verdict makes of it. Pure: no I/O, no clock.

use shared::commands::CreateComment;
use shared::events::{CommentCreated, CommentModerated, CommentUpdated, Status};
use shared::views::CommentView;
use shared::{CommentId, PostId, Timestamp};

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Its id.
    pub id: CommentId,
    /// The post it belongs to.
    pub post_id: PostId,
    /// What it says.
    pub content: String,
    /// The name that the writer gave.
    pub author: String,
    /// The fingerprint of the writer's token.
    pub author_key: Option<String>,
    /// When it was written.
    pub created_at: Option<Timestamp>,
    /// Where it stands.
    pub status: Status,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// Counts its changes, from 1.
    pub version: u32,
}

/// Decides about a command: what happens.
pub fn create(
    command: CreateComment,
    post_id: PostId,
    id: CommentId,
    author_key: String,
    now: Timestamp,
) -> CommentCreated {
    CommentCreated {
        id,
        content: command.content,
        post_id,
        status: Status::Pending,
        author: command.author,
        author_key: Some(author_key),
        created_at: Some(now),
        version: Some(1),
    }
}

impl Comment {
    /// The comment that this event created.
    pub fn created(event: &CommentCreated) -> Self {
        Self {
            id: event.id.clone(),
            post_id: event.post_id.clone(),
            content: event.content.clone(),
            author: event.author.clone(),
            author_key: event.author_key.clone(),
            created_at: event.created_at,
            status: Status::Pending,
            reason: None,
            version: event.version.unwrap_or(1),
        }
    }

    /// A comment of which only a later event is known so far.
    pub fn unseen(id: &CommentId, post_id: &PostId, content: &str) -> Self {
        Self {
            id: id.clone(),
            post_id: post_id.clone(),
            content: content.to_owned(),
            author: String::new(),
            author_key: None,
            created_at: None,
            status: Status::Pending,
            reason: None,
            version: 1,
        }
    }

    /// Takes a verdict. The first one stands: a later one that says otherwise changes nothing. Gives back what to
    /// tell the others; for the verdict that stands, that is the same each time.
    pub fn judge(&mut self, verdict: &CommentModerated) -> Option<CommentUpdated> {
        if self.status == Status::Pending {
            self.status = verdict.status;
            self.reason.clone_from(&verdict.reason);
            self.version += 1;
        } else if self.status != verdict.status {
            return None;
        }
        Some(CommentUpdated {
            id: self.id.clone(),
            content: self.content.clone(),
            post_id: self.post_id.clone(),
            status: self.status,
            reason: self.reason.clone(),
            version: Some(self.version),
        })
    }

    /// Takes its own past change, read back from the log.
    pub fn recall(&mut self, update: &CommentUpdated) {
        let version = update.version.unwrap_or(2);
        if version > self.version {
            self.status = update.status;
            self.reason.clone_from(&update.reason);
            self.version = version;
        }
    }

    /// What a reader may see: the text only if it is approved, or pending and the reader's own.
    pub fn view(&self, reader_key: Option<&str>) -> CommentView {
        let mine = reader_key.is_some() && self.author_key.as_deref() == reader_key;
        let readable = self.status == Status::Approved || (self.status == Status::Pending && mine);
        CommentView {
            id: self.id.clone(),
            content: if readable { self.content.clone() } else { String::new() },
            status: self.status,
            author: if self.status == Status::Rejected { String::new() } else { self.author.clone() },
            reason: self.reason.clone().filter(|_| self.status == Status::Rejected),
            created_at: self.created_at,
            version: Some(self.version),
            mine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn comment() -> Comment {
        let command = CreateComment::new("hi", "Ada").unwrap();
        let post_id = "p".parse().unwrap();
        let event = create(command, post_id, "c".parse().unwrap(), "ada".into(), Timestamp::from_unix_ms(3));
        Comment::created(&event)
    }

    fn verdict(status: Status) -> CommentModerated {
        CommentModerated {
            id: "c".parse().unwrap(),
            content: "hi".into(),
            post_id: "p".parse().unwrap(),
            status,
            reason: (status == Status::Rejected).then(|| "a reason".into()),
            rule: None,
        }
    }

    #[test]
    fn the_first_verdict_stands_and_is_told_the_same_each_time() {
        let mut c = comment();
        let told = c.judge(&verdict(Status::Rejected)).unwrap();
        assert_eq!(
            (told.status, told.version, told.reason.as_deref()),
            (Status::Rejected, Some(2), Some("a reason"))
        );
        assert_eq!(c.judge(&verdict(Status::Rejected)), Some(told));
        assert_eq!(c.judge(&verdict(Status::Approved)), None);
        assert_eq!(c.status, Status::Rejected);
    }

    #[test]
    fn only_approved_text_is_public_and_pending_text_is_its_writers() {
        let mut c = comment();
        assert_eq!(c.view(None).content, "");
        assert_eq!(c.view(Some("bob")).content, "");
        assert_eq!((c.view(Some("ada")).content.as_str(), c.view(Some("ada")).mine), ("hi", true));
        let mut nobodys = comment();
        nobodys.author_key = None;
        assert!(!nobodys.view(None).mine);
        c.judge(&verdict(Status::Rejected));
        assert_eq!(c.view(Some("ada")).content, "", "rejected text is shown to nobody");
        let mut c = comment();
        c.judge(&verdict(Status::Approved));
        assert_eq!(c.view(None).content, "hi");
    }

    proptest! {
        #[test]
        fn a_verdict_comes_to_the_same_whether_judged_recalled_or_both(recalls in prop::collection::vec(any::<bool>(), 1..5)) {
            let mut judged = comment();
            let told = judged.judge(&verdict(Status::Approved)).unwrap();
            let mut c = comment();
            for recall in recalls {
                if recall {
                    c.recall(&told);
                } else {
                    c.judge(&verdict(Status::Approved));
                }
            }
            prop_assert_eq!(c, judged);
        }
    }
}
