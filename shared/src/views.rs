//! The answers to clients.
//!
//! They contain everything that the course's client expects; other members may be added, never removed. A
//! [`CommentView`] comes from [`crate::visibility`] and holds nothing that its reader may not see.

use crate::events::Status;
use crate::ids::{CommentId, PostId};
use crate::sequence::Sequence;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The course's notice next to a pending comment.
pub const NOTICE_PENDING: &str = "This comment is awaiting moderation";
/// The course's notice in place of a rejected comment.
pub const NOTICE_REJECTED: &str = "This comment has been rejected";

/// The greatest `limit` of a [`PostPage`] and of a [`Thread`].
pub const MAX_PAGE: usize = 100;
/// The `limit` of a [`PostPage`] where the request names none.
pub const DEFAULT_PAGE: usize = 20;
/// The `limit` of a [`Thread`] where the request names none.
pub const DEFAULT_THREAD: usize = 50;
/// The longest `wait` of `GET /query/posts/{id}`, in milliseconds.
pub const MAX_WAIT_MS: u64 = 5_000;
/// The header in which one of several replicas of query says up to which event an answer is up to date.
pub const SEQUENCE_HEADER: &str = "x-sequence";
/// The header with the event up to which an answer of query has to be up to date, at least.
pub const MIN_SEQUENCE_HEADER: &str = "x-min-sequence";
/// The name of the cookie that identifies an author.
pub const AUTHOR_COOKIE: &str = "author";

/// A post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostView {
    /// Given by the service that created it.
    pub id: PostId,
    /// Plain text.
    pub title: String,
    /// Markdown; empty in lists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The name that the author entered; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// From the event that created it, else from that event's envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// The number of changes, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// A comment as one reader may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommentView {
    /// Given by the service that created it.
    pub id: CommentId,
    /// Plain text; empty where this reader may not read it.
    pub content: String,
    /// Pending until moderation has decided.
    pub status: Status,
    /// The name that the author entered; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Why it was rejected: a human-readable message that everybody may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From the event that created it, else from that event's envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// The number of changes, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whether this reader wrote it; left out where not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mine: bool,
}

/// A post with all its comments: an entry of the course's `GET /posts` of query, without the body. That is an object
/// keyed by id, with the oldest post first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostWithComments {
    /// Its members stand beside `comments`.
    #[serde(flatten)]
    pub post: PostView,
    /// Oldest first.
    pub comments: Vec<CommentView>,
}

/// The answer of `GET /query/posts/{id}`: a post with a page of its comments.
///
/// `comments` chooses the page: `newest` (the default), `oldest`, `before:CURSOR`, `after:CURSOR` or `around:COMMENT_ID`;
/// `limit` its greatest length, 1 to [`MAX_PAGE`]. Where it is around a comment that the post does not have, the page is
/// the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// With its body. Its members stand beside the others.
    #[serde(flatten)]
    pub post: PostView,
    /// Oldest first, whichever page it is.
    pub comments: Vec<CommentView>,
    /// The cursor for `before:`; nothing where no comment is older than these.
    pub earlier: Option<String>,
    /// The cursor for `after:`; nothing where no comment is newer than these.
    pub later: Option<String>,
    /// The number of approved comments of the post, on all pages.
    pub comment_count: u64,
    /// The state of the read model that this shows: `GET /live?after=` with it sends every later change.
    pub sequence: Sequence,
}

/// A post in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostSummary {
    /// Without its body. Its members stand beside the others.
    #[serde(flatten)]
    pub post: PostView,
    /// The beginning of the body as plain text; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub excerpt: String,
    /// The number of approved comments.
    pub comment_count: u64,
}

/// The answer of query's `GET /posts?limit=&cursor=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostPage {
    /// Newest first.
    pub items: Vec<PostSummary>,
    /// The `cursor` of the next page; nothing on the last page.
    pub next: Option<String>,
    /// The state of the read model that this shows: `GET /live?after=` with it sends every later change.
    #[serde(default)]
    pub sequence: Sequence,
}

/// One event of the stream `GET /live`. The SSE `id` is `sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveChange {
    /// The place in the log of the event that caused the change.
    pub sequence: Sequence,
    /// The post that changed, or the post of the comment that changed.
    pub post_id: PostId,
    /// The current state without the body, if the post itself changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<PostView>,
    /// The current state as everybody may see it, if a comment changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<CommentView>,
    /// The number of approved comments of the post, if a comment changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment_count: Option<u64>,
}
