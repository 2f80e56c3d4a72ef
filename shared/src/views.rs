//! What clients are answered.
//!
//! Members that the course's client does not know are only ever added. Text that nobody may read is blanked where
//! a view is made, never by who shows it.

use crate::envelope::Envelope;
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

/// The answer of the bus to a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Always `OK`.
    pub status: String,
    /// Where the event stands in the log, for one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// Where each event stands in the log, for a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences: Option<Vec<Sequence>>,
}

/// What a consumer tells the bus: `POST /subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribe {
    /// The consumer's name: one subscription each.
    pub name: String,
    /// Where it takes deliveries.
    pub url: String,
    /// The last event that it has applied.
    pub cursor: Sequence,
    /// That event's id: a log that was lost and has grown again has another event there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<String>,
    /// Whether it takes many events in one request.
    #[serde(default)]
    pub batch: bool,
    /// Whether the consumer has just started. A start ends the backoff of its deliveries; a heartbeat does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started: bool,
}

/// The answer of the bus to a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Where deliveries go on from.
    pub cursor: Sequence,
    /// The last event of the log.
    pub head: Sequence,
}

/// One row of `GET /subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// The consumer.
    pub name: String,
    /// Where it takes deliveries.
    pub url: String,
    /// The last event that it has acknowledged.
    pub cursor: Sequence,
    /// How many events it has yet to acknowledge.
    pub lag: i64,
    /// How often the delivery under way has failed.
    pub attempts: u32,
    /// When it is tried again.
    pub next_retry: Option<Timestamp>,
    /// What the last failed delivery came to; nothing once one has succeeded.
    pub last_error: Option<String>,
    /// The age of the oldest event that it has yet to acknowledge, in milliseconds: the better alarm.
    pub oldest_unacked_age_ms: i64,
    /// Whether it is held because it has seen more than the log now holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost_tail: bool,
}

/// One row of `GET /dead-letters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// Names the dead letter in `POST /dead-letters/{id}/redrive` and `/discard`.
    pub id: i64,
    /// The post whose events wait behind it.
    pub key: String,
    /// Where the event stands in the log; nothing for one that came without.
    pub sequence: Option<Sequence>,
    /// Why it could not be applied, or that it waits behind one that could not.
    pub error: String,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// The event as it came.
    pub event: Envelope,
}

/// What a redrive or a discard came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// How many events of the key were applied.
    pub applied: u64,
    /// How many still wait.
    pub remaining: u64,
}
