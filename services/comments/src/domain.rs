//! How a comment is created, updated by a verdict, and shown. Pure: no I/O, no clock.

use shared::commands::CreateComment;
use shared::events::{CommentCreated, CommentModerated, CommentUpdated, Status};
use shared::views::CommentView;
use shared::visibility::StoredComment;
use shared::{CommentId, PostId, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    pub id: CommentId,
    pub post_id: PostId,
    pub content: String,
    pub author: String,
    /// The fingerprint of the author's cookie.
    pub author_key: Option<String>,
    pub created_at: Option<Timestamp>,
    pub status: Status,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// 1 at creation, one more for each change.
    pub version: u32,
}

pub fn creation_event(
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

    /// A comment whose creation has not arrived yet, while a later event about it has.
    pub fn placeholder(id: &CommentId, post_id: &PostId, content: &str) -> Self {
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

    /// Applies a verdict and returns the event to publish: the same event each time the same verdict arrives. The
    /// first verdict stands; one that contradicts it changes nothing and returns nothing.
    pub fn apply_verdict(&mut self, verdict: &CommentModerated) -> Option<CommentUpdated> {
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

    /// Applies a change that this service published before and now reads back from the log.
    pub fn apply_update(&mut self, update: &CommentUpdated) {
        let version = update.version.unwrap_or(2);
        if version > self.version {
            self.status = update.status;
            self.reason.clone_from(&update.reason);
            self.version = version;
        }
    }

    /// The comment in the answer to its creation, and in each repetition of that: as it was when it was new. Whoever
    /// repeats the request wrote it, even if the first answer, and its cookie, was lost.
    pub fn view_as_created(mut self) -> CommentView {
        self.status = Status::Pending;
        self.reason = None;
        self.version = 1;
        self.view(self.author_key.as_deref())
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
        let (post_id, id) = ("p".parse().unwrap(), "c".parse().unwrap());
        let event = creation_event(command, post_id, id, "ada".into(), Timestamp::from_unix_ms(3));
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
    fn the_first_verdict_stands_and_gives_the_same_event_each_time() {
        let mut c = comment();
        let told = c.apply_verdict(&verdict(Status::Rejected)).unwrap();
        assert_eq!(
            (told.status, told.version, told.reason.as_deref()),
            (Status::Rejected, Some(2), Some("a reason"))
        );
        assert_eq!(c.apply_verdict(&verdict(Status::Rejected)), Some(told));
        assert_eq!(c.apply_verdict(&verdict(Status::Approved)), None);
        assert_eq!(c.status, Status::Rejected);
    }

    proptest! {
        #[test]
        fn a_verdict_and_its_own_update_come_to_the_same(updates in prop::collection::vec(any::<bool>(), 1..5)) {
            let mut judged = comment();
            let told = judged.apply_verdict(&verdict(Status::Approved)).unwrap();
            let mut c = comment();
            for update in updates {
                if update {
                    c.apply_update(&told);
                } else {
                    c.apply_verdict(&verdict(Status::Approved));
                }
            }
            prop_assert_eq!(c, judged);
        }
    }
}
