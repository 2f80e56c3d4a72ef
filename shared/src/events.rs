//! Every event of the system. **This is the one place where an event is defined.**
//!
//! To add an event: write its data as a struct below, add a line to the [`events!`](self) table, and follow the
//! compiler's errors. The bus checks by this table who may publish what, consumers match on [`Event`] without a
//! wildcard, and the catalogue (`docs/EVENTS.md`) is generated from it.
//!
//! An event may gain optional fields. Any other change is a new event with a new name: logs are kept forever, and old
//! ones must stay readable.

use crate::ids::{CommentId, PostId};
use crate::service::ServiceName;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of a comment in moderation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Moderation has not decided yet.
    Pending,
    /// Everybody may read it.
    Approved,
    /// Nobody may read it.
    Rejected,
}

impl Status {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Pending, Self::Approved, Self::Rejected]
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a status"))
    }
}

/// A post was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostCreated {
    /// Assigned by the posts service; the key of every event about this post.
    pub id: PostId,
    /// Plain text.
    pub title: String,
    /// Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The name that the author entered; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// By the clock of the service that created it. The course's services send none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// 1 at creation, one more for each change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// A comment was written and waits for moderation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommentCreated {
    /// Assigned by the comments service.
    pub id: CommentId,
    /// Plain text.
    pub content: String,
    /// The post that the comment belongs to.
    pub post_id: PostId,
    /// Always `pending`.
    pub status: Status,
    /// The name that the author entered; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The fingerprint of the author's cookie: a reader with this cookie may read the comment while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_key: Option<String>,
    /// By the clock of the service that created it. The course's services send none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// 1 at creation, one more for each change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Why a consumer refuses a [`CommentModerated`] that is still [`Status::Pending`].
pub const NO_VERDICT: &str = "a verdict must be approved or rejected";

/// Moderation decided about a comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommentModerated {
    /// Assigned by the comments service.
    pub id: CommentId,
    /// Plain text.
    pub content: String,
    /// The post that the comment belongs to.
    pub post_id: PostId,
    /// `approved` or `rejected`.
    pub status: Status,
    /// Why it was rejected: a human-readable message that everybody may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id of the rule that decided, or `person`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// A comment changed: moderation's decision was applied to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommentUpdated {
    /// Assigned by the comments service.
    pub id: CommentId,
    /// Plain text.
    pub content: String,
    /// The post that the comment belongs to.
    pub post_id: PostId,
    /// The new state.
    pub status: Status,
    /// Why it was rejected: a human-readable message that everybody may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// 1 at creation, one more for each change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

macro_rules! events {
    ($($(#[doc = $doc:literal])* $name:ident: $publisher:ident => [$($consumer:ident),*], key $key:ident;)*) => {
        /// The name of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum EventType {
            $($(#[doc = $doc])* $name,)*
        }

        impl EventType {
            /// In the order of the table.
            pub const ALL: &[EventType] = &[$(Self::$name,)*];

            /// The name in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Its meaning, in one sentence.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// The only service that may publish it.
            pub const fn publisher(self) -> ServiceName {
                match self { $(Self::$name => ServiceName::$publisher,)* }
            }

            /// The services that act on it. Its publisher reads it as well, to rebuild a lost store.
            pub const fn consumers(self) -> &'static [ServiceName] {
                match self { $(Self::$name => &[$(ServiceName::$consumer),*],)* }
            }
        }

        /// An event with its data. In JSON: `{"type": …, "data": {…}}`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum Event {
            $($(#[doc = $doc])* $name($name),)*
        }

        impl Event {
            /// The event without its data.
            pub const fn event_type(&self) -> EventType {
                match self { $(Self::$name(_) => EventType::$name,)* }
            }

            /// The post that it belongs to. Events of one post keep their order, also among dead letters.
            pub fn key(&self) -> &PostId {
                match self { $(Self::$name(data) => &data.$key,)* }
            }

            /// Parses the data of an event of this type.
            pub fn from_data(event_type: EventType, data: &str) -> Result<Self, serde_json::Error> {
                match event_type { $(EventType::$name => serde_json::from_str(data).map(Self::$name),)* }
            }

            /// Only the data, as JSON.
            pub fn data_json(&self) -> Result<String, serde_json::Error> {
                match self { $(Self::$name(data) => serde_json::to_string(data),)* }
            }
        }

        $(impl From<$name> for Event {
            fn from(data: $name) -> Self {
                Self::$name(data)
            }
        })*
    };
}

// name: publisher => [consumers], key field (the post it belongs to)
events! {
    /// A post was written.
    PostCreated: Posts => [Query, Comments], key id;
    /// A comment was written and waits for moderation.
    CommentCreated: Comments => [Query, Moderation], key post_id;
    /// Moderation decided about a comment.
    CommentModerated: Moderation => [Comments], key post_id;
    /// A comment changed: moderation's decision was applied to it.
    CommentUpdated: Comments => [Query], key post_id;
}

/// An operator discarded an event that a service could not apply. The service that discards publishes it, and reads
/// it again when it rebuilds a lost store: otherwise the discarded event would block its post again.
///
/// It is not in the table: it is not about a post, and every service that consumes events publishes it, each for its
/// own discards only (the envelope's `source` says who). No handler sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventDiscarded {
    /// The `source` of the discarded event.
    pub event_source: String,
    /// The `id` of the discarded event.
    pub event_id: String,
}

impl EventDiscarded {
    /// The name on the wire.
    pub const TYPE: &'static str = "EventDiscarded";
    /// The `dataschema` of the version that is written today.
    pub const SCHEMA: &'static str = "/schemas/EventDiscarded/1";
}

/// Whether a service may publish events of this name.
pub fn may_publish(service: ServiceName, kind: &str) -> bool {
    match kind.parse::<EventType>() {
        Ok(event_type) => event_type.publisher() == service,
        Err(_) => kind == EventDiscarded::TYPE && ServiceName::PEERS.contains(&service),
    }
}

impl EventType {
    /// The `dataschema` of the current version.
    pub fn schema(self) -> String {
        format!("/schemas/{self}/1")
    }

    /// Whether a service reads it: to act on it or, as its publisher, to rebuild a lost store.
    pub fn concerns(self, service: ServiceName) -> bool {
        self.publisher() == service || self.consumers().contains(&service)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Unknown event type. Consumers skip such events: they belong to another system or to a later version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an event of this system")]
pub struct UnknownEvent(pub String);

impl std::str::FromStr for EventType {
    type Err = UnknownEvent;
    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.iter().copied().find(|t| t.as_str() == text).ok_or_else(|| UnknownEvent(text.to_owned()))
    }
}
