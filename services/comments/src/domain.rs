//! What a comment is, and what a verdict makes of it. Pure: no I/O, no clock.

use shared::commands::CreateComment;
use shared::events::{CommentCreated, CommentModerated, CommentUpdated, Status};
use shared::views::CommentView;
use shared::visibility::StoredComment;
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

    /// The comment as a reader may see it; see [`shared::visibility`].
    pub fn view(&self, reader_key: Option<&str>) -> CommentView {
        let stored = StoredComment {
            id: &self.id,
            status: self.status,
            content: &self.content,
            author: &self.author,
            author_key: self.author_key.as_deref(),
            reason: self.reason.as_deref(),
            created_at: self.created_at,
            version: self.version,
        };
        stored.view(reader_key)
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
