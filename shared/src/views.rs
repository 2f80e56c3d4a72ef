//! What clients are answered.
//!
//! Members that the course's client does not know are only ever added. Text that nobody may read is blanked where
//! a view is made, never by who shows it.

use crate::events::Status;
use crate::ids::{CommentId, PostId};
use crate::sequence::Sequence;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The course's notice beside a comment that waits for its verdict.
pub const NOTICE_PENDING: &str = "This comment is awaiting moderation";
/// The course's notice in place of a comment that was rejected.
pub const NOTICE_REJECTED: &str = "This comment has been rejected";

/// The most posts on one page of [`PostPage`].
pub const MAX_PAGE: usize = 100;
/// The posts on one page where nothing is asked for.
pub const DEFAULT_PAGE: usize = 20;
/// The longest `wait`, in milliseconds.
pub const MAX_WAIT_MS: u64 = 5_000;
/// The cookie by which a writer is known again.
pub const AUTHOR_COOKIE: &str = "author";

/// A post, as the posts service answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostView {
    /// The post.
    pub id: PostId,
    /// Its title.
    pub title: String,
    /// Its body, in Markdown; left out of lists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The name that the writer gave.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Counts the changes of the post, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// A comment, as everybody may see it: without text unless it is approved, or the reader's own and pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommentView {
    /// The comment.
    pub id: CommentId,
    /// What it says; empty where this reader may not read it.
    pub content: String,
    /// Where it stands.
    pub status: Status,
    /// The name that the writer gave.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Counts the changes of the comment, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whether the reader wrote it; left out where nobody asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mine: bool,
}

/// A post with its comments: an entry of the course's `GET /posts` of the query service, and the answer of
/// `GET /query/posts/{id}`, which adds the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostWithComments {
    /// The post.
    #[serde(flatten)]
    pub post: PostView,
    /// Its comments, oldest first.
    pub comments: Vec<CommentView>,
}

/// The course's `GET /posts` of the query service: an object keyed by id, oldest post first. (The map is for
/// reading; the service writes the entries in the order of time.)
pub type PostsById = BTreeMap<PostId, PostWithComments>;

/// A post in a list: its number of comments instead of the comments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostSummary {
    /// The post, without its body.
    #[serde(flatten)]
    pub post: PostView,
    /// The beginning of the body, as plain text; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub excerpt: String,
    /// How many comments everybody can read.
    pub comment_count: u64,
}

/// One page of posts, newest first: `GET /posts?limit=&cursor=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostPage {
    /// The posts.
    pub items: Vec<PostSummary>,
    /// The `cursor` of the next page; nothing where this is the last.
    pub next: Option<String>,
}

/// One change, as `GET /live` tells it. The SSE event's `id` is `sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveChange {
    /// The place in the log of the event that made the change.
    pub sequence: Sequence,
    /// The post that changed, or whose comment did.
    pub post_id: PostId,
    /// The post as it is now, where the post itself changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<PostView>,
    /// The comment as it is now, as everybody may see it, where a comment changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<CommentView>,
}
