//! Reads: from the leader of the stream one by one, or many by a consumer of the server that is kept between reads.

use super::api::{Wanted, call, message};
use super::message::Read;
use super::{Shared, sequence};
use crate::log::row::Damage;
use crate::log::{LogError, Logged};
use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use kit::rt;
use serde_json::{Value, json};
use shared::Sequence;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The most consumers that are kept between reads.
const CURSORS: usize = 16;
/// The least and the most messages that are asked for at once.
const BATCH: (usize, usize) = (256, 1_024);
/// The most bytes that are asked for at once, unless a single message may be larger.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long the server waits for messages: the one with the consumer may lag behind the leader.
const EXPIRES: Duration = Duration::from_secs(2);
/// How long the server keeps a consumer that is not used.
const UNUSED: Duration = Duration::from_secs(30);

/// A consumer of the server that reads the stream from a place on.
struct Cursor {
    name: String,
    messages: Subscriber,
    inbox: String,
    /// How often the server was asked for more. Its answers name it: that a request is at its end may arrive after the
    /// next one was sent.
    pulls: u64,
    /// How many messages the server still sends.
    expected: usize,
    /// A message that did not fit into the last answer.
    left: Option<Message>,
    next: Sequence,
}

impl Cursor {
    async fn new(shared: &Shared, next: Sequence) -> Option<Self> {
        let (client, stream) = (&shared.client, &shared.url.stream);
        let inbox = client.new_inbox();
        let messages = client.subscribe(format!("{inbox}.*")).await.ok()?;
        let name = inbox.replace('.', "-");
        let create = json!({"stream_name": stream, "action": "create", "config": {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": next.get(),
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": nanoseconds(UNUSED),
            "num_replicas": 1,
            "mem_storage": true,
        }});
        let created = call::<Value>(client, format!("CONSUMER.CREATE.{stream}.{name}"), &create).await;
        if let Err(error) = created {
            tracing::debug!(%error, "the log is read one by one");
            return None;
        }
        Some(Self { name, messages, inbox, pulls: 0, expected: 0, left: None, next })
    }

    /// Asks for more. All of it is in the stream already.
    async fn pull(&mut self, shared: &Shared, count: usize) -> Option<()> {
        let most = shared.client.max_payload().max(BATCH_BYTES);
        let body = json!({"batch": count, "expires": nanoseconds(EXPIRES), "max_bytes": most}).to_string();
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", shared.url.stream, self.name);
        self.expected = count;
        self.pulls += 1;
        shared.client.publish_with_reply(subject, self.reply(), body.into()).await.ok()
    }

    fn reply(&self) -> String {
        format!("{}.{}", self.inbox, self.pulls)
    }

    /// The next message and its place; `None` where the consumer is gone, or has nothing.
    async fn next(&mut self, shared: &Shared, available: usize) -> Option<(Sequence, Message)> {
        let mut pulled = false;
        loop {
            let message = if let Some(message) = self.left.take() {
                message
            } else {
                if self.expected == 0 {
                    if pulled {
                        return None;
                    }
                    self.pull(shared, available.clamp(1, BATCH.1)).await?;
                    pulled = true;
                }
                rt::timeout(2 * EXPIRES, self.messages.next()).await.ok()??
            };
            match message.status {
                None => {
                    self.expected = self.expected.saturating_sub(1);
                    let place = place(message.reply.as_deref()?)?;
                    return Some((place, message));
                }
                // The end of what was asked for.
                Some(_) if message.subject.as_str() == self.reply() => self.expected = 0,
                Some(_) => {}
            }
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The place in the stream, from the subject for an acknowledgement:
/// `$JS.ACK.[domain.account.]stream.consumer.deliveries.PLACE.….time.pending`.
fn place(reply: &str) -> Option<Sequence> {
    let tokens: Vec<_> = reply.split('.').collect();
    let at = if tokens.len() == 9 { 5 } else { 7 };
    tokens.get(at)?.parse().ok().map(sequence)
}

/// Reads the stream.
#[derive(Default)]
pub(super) struct Reader {
    /// The last used at the end.
    cursors: Mutex<Vec<Cursor>>,
}

impl Reader {
    fn take(&self, next: Sequence) -> Option<Cursor> {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cursors.iter().position(|cursor| cursor.next == next)?;
        Some(cursors.remove(found))
    }

    fn keep(&self, cursor: Cursor) {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        if cursors.len() == CURSORS {
            cursors.remove(0);
        }
        cursors.push(cursor);
    }

    /// As [`crate::log::EventLog::read`].
    pub async fn read(
        &self,
        shared: &Shared,
        after: Sequence,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Vec<Logged>, LogError> {
        let head = *shared.head.borrow();
        let available = usize::try_from(head.get() - after.get()).unwrap_or(0);
        let limit = limit.min(available);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut events = Vec::new();
        if limit > 1 {
            let cursor = match self.take(after.next()) {
                Some(cursor) => Some(cursor),
                None => Cursor::new(shared, after.next()).await,
            };
            if let Some(cursor) = cursor {
                self.read_many(shared, cursor, &mut events, limit, max_bytes, available).await;
            }
        }
        // The consumer reads from any replica: what it does not have, or has otherwise, the leader is asked for.
        if events.is_empty() {
            events.push(read_one(shared, after.next()).await?);
        }
        Ok(events)
    }

    /// Reads as far as the consumer's messages are the log's, and keeps the consumer if they were to the end.
    async fn read_many(
        &self,
        shared: &Shared,
        mut cursor: Cursor,
        events: &mut Vec<Logged>,
        limit: usize,
        max_bytes: usize,
        available: usize,
    ) {
        let mut bytes = 0;
        while events.len() < limit {
            let wanted = (limit - events.len()).max(BATCH.0).min(available - events.len());
            let Some((place, message)) = cursor.next(shared, wanted).await else { return };
            if place != cursor.next {
                return;
            }
            bytes += message.payload.len();
            if bytes > max_bytes && !events.is_empty() {
                cursor.expected += 1;
                cursor.left = Some(message);
                break;
            }
            let Some(read) = Read::of_message(message) else { return };
            events.push(read.logged(place));
            cursor.next = place.next();
        }
        self.keep(cursor);
    }
}

/// Reads one event from the leader of the stream.
async fn read_one(shared: &Shared, place: Sequence) -> Result<Logged, LogError> {
    let wanted = Wanted::Seq(u64::try_from(place.get()).unwrap_or(0));
    let held = message(&shared.client, &shared.url.stream, &wanted).await;
    let held = held.map_err(|e| LogError::Unavailable(e.to_string()))?;
    let held = held.ok_or_else(|| shared.damaged(Damage::Missing(place).to_string()))?;
    let read = Read::of_held(held).ok_or_else(|| shared.damaged(Damage::Changed(place).to_string()))?;
    Ok(read.logged(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_both_forms_of_the_subject() {
        assert_eq!(place("$JS.ACK.ev.c.1.42.7.1700000000.0"), Some(Sequence::new(42)));
        assert_eq!(place("$JS.ACK._.hash.ev.c.1.42.7.1700000000.0"), Some(Sequence::new(42)));
        assert_eq!(place("$JS.ACK._.hash.ev.c.1.42.7.1700000000.0.random"), Some(Sequence::new(42)));
        assert_eq!(place("$JS.ACK"), None);
    }
}
