//! What the read model holds of one post and of one comment. Pure: no I/O, no clock.
//!
//! Each is the merge of what its events say. Merging is commutative, associative and idempotent, so every order and
//! repetition of the same events gives the same result; a comment before its post, or an update before its creation,
//! needs no special case.

mod excerpt;
mod key;

pub use excerpt::excerpt;
pub use key::{BadKey, Key};

use shared::events::{CommentCreated, CommentUpdated, PostCreated, Status};
use shared::views::{CommentView, PostView};
use shared::visibility::StoredComment;
use shared::{CommentId, Envelope, PostId, Sequence, Timestamp};

/// What posts and comments are ordered by: the time, then the place in the log.
///
/// Both come from the event as the log holds it and never from this service's clock, so that a redelivery, a redrive
/// and a rebuild give the same order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// `createdAt`; the time of the envelope where the event has none, as events of the course's services.
    pub created_at: Option<Timestamp>,
    /// `None` if the event did not come through the log.
    pub sequence: Option<Sequence>,
}

impl Position {
    fn new(created_at: Option<Timestamp>, envelope: &Envelope) -> Self {
        Self { created_at: created_at.or(envelope.time), sequence: envelope.sequence }
    }

    fn key(&self, id: &str) -> Key {
        let Self { created_at, sequence } = *self;
        Key {
            at: created_at.map_or(0, Timestamp::unix_ms),
            place: sequence.map_or(0, Sequence::get),
            id: id.to_owned(),
        }
    }

    /// If several events create the same post or comment, the one with the lowest rank counts: the first in the log,
    /// then the earliest. An unknown position ranks last. (This is not the order of display.)
    fn rank(&self) -> impl Ord + use<> {
        let Self { created_at, sequence } = *self;
        (sequence.is_none(), sequence, created_at.is_none(), created_at)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub id: PostId,
    pub title: String,
    /// Markdown.
    pub body: String,
    pub author: String,
    pub position: Position,
    /// 1 at creation, one more for each change.
    pub version: u32,
}

impl Post {
    pub fn created(event: &PostCreated, envelope: &Envelope) -> Self {
        Self {
            id: event.id.clone(),
            title: event.title.clone(),
            body: event.body.clone(),
            author: event.author.clone(),
            position: Position::new(event.created_at, envelope),
            version: event.version.unwrap_or(1),
        }
    }

    /// Combines two creations of the same post. They should be equal; if they differ, the same one wins
    /// regardless of the order of arrival.
    pub fn merge(self, other: Self) -> Self {
        let rank = |p: &Self| {
            let text = (p.body.is_empty(), p.title.clone(), p.body.clone(), p.author.clone());
            (p.position.rank(), text, p.version)
        };
        if rank(&other) < rank(&self) { other } else { self }
    }

    pub fn key(&self) -> Key {
        self.position.key(self.id.as_str())
    }

    /// The post in a list: without its body.
    pub fn headline(&self) -> PostView {
        PostView { body: String::new(), ..self.view() }
    }

    pub fn view(&self) -> PostView {
        PostView {
            id: self.id.clone(),
            title: self.title.clone(),
            body: self.body.clone(),
            author: self.author.clone(),
            created_at: self.position.created_at,
            version: Some(self.version),
        }
    }
}

/// What only the creation of a comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub position: Position,
    pub author: String,
    /// The fingerprint of the author's cookie.
    pub author_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    pub id: CommentId,
    pub post_id: PostId,
    /// `None` while only a later event is known.
    pub origin: Option<Origin>,
    /// 1 at creation, one more for each change. The text and the status are those of the highest version.
    pub version: u32,
    pub status: Status,
    pub content: String,
    /// Why it was rejected.
    pub reason: Option<String>,
}

impl Comment {
    pub fn created(event: &CommentCreated, envelope: &Envelope) -> Self {
        Self {
            id: event.id.clone(),
            post_id: event.post_id.clone(),
            origin: Some(Origin {
                position: Position::new(event.created_at, envelope),
                author: event.author.clone(),
                author_key: event.author_key.clone(),
            }),
            version: event.version.unwrap_or(1),
            status: Status::Pending,
            content: event.content.clone(),
            reason: None,
        }
    }

    pub fn updated(event: &CommentUpdated) -> Self {
        let implied = if event.status == Status::Pending { 1 } else { 2 };
        Self {
            id: event.id.clone(),
            post_id: event.post_id.clone(),
            origin: None,
            version: event.version.unwrap_or(implied),
            status: event.status,
            content: event.content.clone(),
            reason: event.reason.clone(),
        }
    }

    /// Combines what two events, or two sets of events, say about the same comment.
    pub fn merge(self, other: Self) -> Self {
        let origin = match (self.origin.clone(), other.origin.clone()) {
            (Some(a), Some(b)) => {
                let rank = |o: &Origin| {
                    (o.position.rank(), o.author_key.is_none(), o.author.clone(), o.author_key.clone())
                };
                Some(if rank(&b) < rank(&a) { b } else { a })
            }
            (a, b) => a.or(b),
        };
        let rank = |c: &Self| (c.version, c.status, c.content.clone(), c.reason.clone(), c.post_id.clone());
        let head = if rank(&other) > rank(&self) { other } else { self };
        Self { origin, ..head }
    }

    /// The default position where the creation is not known yet.
    pub fn position(&self) -> Position {
        self.origin.as_ref().map_or(Position::default(), |o| o.position)
    }

    /// Among the comments of its post.
    pub fn key(&self) -> Key {
        self.position().key(self.id.as_str())
    }

    /// The comment as a reader may see it; see [`shared::visibility`].
    pub fn view(&self, reader_key: Option<&str>) -> CommentView {
        let origin = self.origin.as_ref();
        let stored = StoredComment {
            id: &self.id,
            status: self.status,
            content: &self.content,
            author: origin.map_or("", |o| o.author.as_str()),
            author_key: origin.and_then(|o| o.author_key.as_deref()),
            reason: self.reason.as_deref(),
            created_at: self.position().created_at,
            version: self.version,
        };
        stored.view(reader_key)
    }
}

#[cfg(test)]
mod tests;
