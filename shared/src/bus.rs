//! What the bus, its subscribers and the operator exchange, besides the events themselves.

use crate::envelope::Envelope;
use crate::sequence::Sequence;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest name of an instance, in characters: as long as a pod's.
pub const MAX_INSTANCE_NAME: usize = 63;

/// Whether this may be the name of an instance: 1 to 63 characters out of `a-z`, `0-9` and `-`.
pub fn is_instance_name(name: &str) -> bool {
    let is_valid_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_INSTANCE_NAME).contains(&name.len()) && name.bytes().all(is_valid_byte)
}

/// The service and the instance in the name of a subscription. It is `service/instance` where each replica of a service
/// receives every event and has a cursor of its own, and `service` alone where the service has one cursor.
pub fn subscription_parts(name: &str) -> (&str, Option<&str>) {
    name.split_once('/').map_or((name, None), |(service, instance)| (service, Some(instance)))
}

/// The answer of the bus to `POST /events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Always `OK`.
    pub status: String,
    /// The event's place in the log; only where one event was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// Each event's place in the log, in the order of the request; only where an array was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences: Option<Vec<Sequence>>,
}

/// The body of `POST /subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribe {
    /// Identifies the consumer: each name has one subscription. `service` or `service/instance`.
    pub name: String,
    /// The address that deliveries are sent to.
    pub url: String,
    /// The last event that the consumer has applied.
    pub cursor: Sequence,
    /// That event's id. A log that was lost and has grown again holds another event at the same place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<String>,
    /// Whether the consumer accepts several events in one request.
    #[serde(default)]
    pub batch: bool,
    /// Whether the consumer has just started. A start ends the backoff of its deliveries; a heartbeat does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started: bool,
}

/// The answer of the bus to `POST /subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Deliveries begin after this event.
    pub cursor: Sequence,
    /// The last event of the log.
    pub head: Sequence,
}

/// One row of `GET /subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// As in [`Subscribe`].
    pub name: String,
    /// As in [`Subscribe`].
    pub url: String,
    /// The last event that the consumer has acknowledged.
    pub cursor: Sequence,
    /// The number of events that it has not acknowledged yet.
    pub lag: i64,
    /// How often the current delivery has failed.
    pub attempts: u32,
    /// When the current delivery is tried again.
    pub next_retry: Option<Timestamp>,
    /// Why the last delivery failed; nothing once a delivery has succeeded.
    pub last_error: Option<String>,
    /// The age of the oldest event that it has not acknowledged, in milliseconds. A better alarm than `lag`.
    pub oldest_unacked_age_ms: i64,
    /// Whether deliveries have stopped because the consumer has seen more than the log now holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost_tail: bool,
}

/// One row of a consumer's `GET /dead-letters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// For `POST /dead-letters/{id}/redrive` and `/discard`.
    pub id: i64,
    /// The post whose later events wait behind this one.
    pub key: String,
    /// The event's place in the log; nothing where it arrived without one.
    pub sequence: Option<Sequence>,
    /// Why it could not be applied, or that it waits behind another one.
    pub error: String,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// As it arrived.
    pub event: Envelope,
}

/// The answer to a redrive or a discard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// The number of events of the key that were applied.
    pub applied: u64,
    /// The number of events of the key that still wait.
    pub remaining: u64,
}
