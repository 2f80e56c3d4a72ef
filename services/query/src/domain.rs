//! The read model of one post and of one comment. Pure: no I/O, no clock.
//!
//! Each is a merge of what events say: the outcome is the same for every order and repetition of the same events.
//! A comment before its post, or a verdict before its comment, is no special case.

mod excerpt;

pub use excerpt::excerpt;

use shared::events::{CommentCreated, CommentUpdated, PostCreated, Status};
use shared::views::{CommentView, PostView};
use shared::visibility::StoredComment;
use shared::{CommentId, PostId, Timestamp};

/// A post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Its id.
    pub id: PostId,
    /// Its title.
    pub title: String,
    /// Its body, in Markdown.
    pub body: String,
    /// The name that the writer gave.
    pub author: String,
    /// When it was written; the beginning of time where no event says.
    pub created_at: Timestamp,
    /// Counts its changes, from 1.
    pub version: u32,
}

impl Post {
    /// The post that this event creates.
    pub fn created(event: &PostCreated) -> Self {
        Self {
            id: event.id.clone(),
            title: event.title.clone(),
            body: event.body.clone(),
            author: event.author.clone(),
            created_at: event.created_at.unwrap_or(Timestamp::from_unix_ms(0)),
            version: event.version.unwrap_or(1),
        }
    }

    /// What is known when both are: two different creations of one post should not be, and if they are, the same
    /// one wins whichever came first. One that says when beats one that does not: a plain service of the course
    /// may repeat ours with less in it.
    pub fn merge(self, other: Self) -> Self {
        let rank = |p: &Self| {
            (
                when(p.created_at),
                p.body.is_empty(),
                p.title.clone(),
                p.body.clone(),
                p.author.clone(),
                p.version,
            )
        };
        if rank(&other) < rank(&self) { other } else { self }
    }

    /// The post as lists show it: without its body.
    pub fn headline(&self) -> PostView {
        PostView { body: String::new(), ..self.view() }
    }

    /// The post as everybody may see it.
    pub fn view(&self) -> PostView {
        PostView {
            id: self.id.clone(),
            title: self.title.clone(),
            body: self.body.clone(),
            author: self.author.clone(),
            created_at: Some(self.created_at),
            version: Some(self.version),
        }
    }
}

/// The order of two times of which one may not be known: the earlier first, the unknown last.
fn when(time: Timestamp) -> (bool, Timestamp) {
    (time == Timestamp::from_unix_ms(0), time)
}

/// What only a comment's creation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// When it was written.
    pub created_at: Timestamp,
    /// The name that the writer gave.
    pub author: String,
    /// The fingerprint of the writer's token.
    pub author_key: Option<String>,
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Its id.
    pub id: CommentId,
    /// The post it belongs to.
    pub post_id: PostId,
    /// What its creation says; nothing while only a later event is known.
    pub origin: Option<Origin>,
    /// Counts its changes, from 1: the highest one's text and state count.
    pub version: u32,
    /// Where it stands.
    pub status: Status,
    /// What it says.
    pub content: String,
    /// Why it was rejected.
    pub reason: Option<String>,
}

impl Comment {
    /// The comment that this event creates.
    pub fn created(event: &CommentCreated) -> Self {
        Self {
            id: event.id.clone(),
            post_id: event.post_id.clone(),
            origin: Some(Origin {
                created_at: event.created_at.unwrap_or(Timestamp::from_unix_ms(0)),
                author: event.author.clone(),
                author_key: event.author_key.clone(),
            }),
            version: event.version.unwrap_or(1),
            status: Status::Pending,
            content: event.content.clone(),
            reason: None,
        }
    }

    /// What this event says of its comment.
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

    /// What is known when both are.
    pub fn merge(self, other: Self) -> Self {
        let origin = match (self.origin.clone(), other.origin.clone()) {
            (Some(a), Some(b)) => {
                let rank = |o: &Origin| {
                    (when(o.created_at), o.author_key.is_none(), o.author.clone(), o.author_key.clone())
                };
                Some(if rank(&b) < rank(&a) { b } else { a })
            }
            (a, b) => a.or(b),
        };
        let rank = |c: &Self| (c.version, c.status, c.content.clone(), c.reason.clone(), c.post_id.clone());
        let head = if rank(&other) > rank(&self) { other } else { self };
        Self { origin, ..head }
    }

    /// When it was written, as far as is known.
    pub fn created_at(&self) -> Timestamp {
        self.origin.as_ref().map_or(Timestamp::from_unix_ms(0), |o| o.created_at)
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
            created_at: origin.map(|o| o.created_at),
            version: self.version,
        };
        stored.view(reader_key)
    }
}

#[cfg(test)]
mod tests;
