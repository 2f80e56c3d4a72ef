//! An event as a message of the stream: its subject, its headers, its payload.

use super::super::checksum::Checksum;
use super::super::row::{NewEvent, with_sequence};
use super::super::{LogError, Logged};
use super::api::Held;
use async_nats::HeaderMap;
use sha2::{Digest, Sha256};
use shared::{Envelope, Sequence, Timestamp};
use std::fmt::Write;

/// When the bus took the event, in milliseconds.
const RECORDED_AT: &str = "Recorded-At";
/// The checksum of subject, time and envelope.
const CHECKSUM: &str = "Checksum";
/// The longest source or id that its token spells out. A subject has to fit into a line of the protocol, and the server
/// keeps every one in memory.
const MAX_TOKEN: usize = 128;

/// An event that is to be stored.
pub(super) struct NewMessage {
    pub event: NewEvent,
    pub subject: String,
    recorded_at: Timestamp,
    checksum: i64,
}

impl NewMessage {
    pub fn new(stream: &str, envelope: Envelope, now: Timestamp) -> Result<Self, LogError> {
        let event = NewEvent::new(envelope, now).map_err(|e| LogError::Unavailable(e.to_string()))?;
        let subject = subject(stream, &event.source, &event.id);
        let checksum = checksum(&subject, now, &event.json);
        Ok(Self { event, subject, recorded_at: now, checksum })
    }

    /// About what the message takes on the wire.
    pub fn bytes(&self) -> usize {
        self.subject.len() + self.event.json.len() + 256
    }

    /// The headers that are stored with it, and the condition under which it is: that its subject has no message.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RECORDED_AT, self.recorded_at.unix_ms().to_string());
        headers.insert(CHECKSUM, self.checksum.to_string());
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        headers
    }

    pub fn logged(&self, sequence: Sequence) -> Logged {
        Logged { sequence, recorded_at: self.recorded_at, json: with_sequence(sequence, &self.event.json) }
    }
}

fn checksum(subject: &str, recorded_at: Timestamp, envelope: &str) -> i64 {
    // The server sets the sequence, and has a checksum of its own with it.
    Checksum::of(subject, "", recorded_at, envelope).at(Sequence::START)
}

/// `<stream>.<source>.<id>`: no two events have the same.
pub(super) fn subject(stream: &str, source: &str, id: &str) -> String {
    let mut subject = String::with_capacity(stream.len() + source.len() + id.len() + 2);
    subject.push_str(stream);
    for part in [source, id] {
        subject.push('.');
        token(&mut subject, part);
    }
    subject
}

/// Any text as one token of a subject: `%` and two digits stand for a byte that has a meaning in subjects or is not
/// printable ASCII. `%-` is the empty text, and `%%` begins the digest of a text that is too long.
fn token(subject: &mut String, text: &str) {
    let start = subject.len();
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b".*>%".contains(&byte) {
            subject.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(subject, "%{byte:02X}");
        }
    }
    if text.is_empty() {
        subject.push_str("%-");
    }
    if subject.len() - start > MAX_TOKEN {
        subject.truncate(start);
        subject.push_str("%%");
        for byte in Sha256::digest(text.as_bytes()) {
            let _ = write!(subject, "{byte:02x}");
        }
    }
}

/// An event as it was read.
#[derive(Debug)]
pub(super) struct Read {
    pub recorded_at: Timestamp,
    pub envelope: String,
}

impl Read {
    /// `None` where the message is not as the log stored it.
    pub fn new(subject: &str, headers: impl Fn(&str) -> Option<i64>, payload: Vec<u8>) -> Option<Self> {
        let recorded_at = Timestamp::from_unix_ms(headers(RECORDED_AT)?);
        let envelope = String::from_utf8(payload).ok()?;
        let whole = checksum(subject, recorded_at, &envelope) == headers(CHECKSUM)?;
        whole.then_some(Self { recorded_at, envelope })
    }

    pub fn of_message(message: async_nats::Message) -> Option<Self> {
        let headers = message.headers.unwrap_or_default();
        let number = |name: &str| headers.get(name).and_then(|value| value.as_str().parse().ok());
        Self::new(&message.subject, number, message.payload.into())
    }

    pub fn of_held(held: Held) -> Option<Self> {
        let headers = String::from_utf8(held.headers).ok()?;
        let number = |name: &str| {
            let lines = headers.lines().filter_map(|line| line.split_once(':'));
            let mut values = lines.filter(|(found, _)| *found == name).map(|(_, value)| value.trim());
            values.next().and_then(|value| value.parse().ok())
        };
        Self::new(&held.subject, number, held.payload)
    }

    pub fn logged(&self, sequence: Sequence) -> Logged {
        Logged { sequence, recorded_at: self.recorded_at, json: with_sequence(sequence, &self.envelope) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_subject_is_readable_where_it_can_be() {
        assert_eq!(subject("ev", "/posts", "0192-a_b"), "ev./posts.0192-a_b");
        assert_eq!(subject("ev", "", "a.*>% \u{e4}"), "ev.%-.a%2E%2A%3E%25%20%C3%A4");
        let long = subject("ev", "/posts", &"x".repeat(MAX_TOKEN + 1));
        assert!(long.starts_with("ev./posts.%%") && long.len() == "ev./posts.%%".len() + 64, "{long}");
    }

    proptest! {
        #[test]
        fn every_event_has_a_legal_subject_of_its_own(a in ".{0,40}", b in ".{0,40}", c in ".{0,40}", d in ".{0,40}") {
            let (first, second) = (subject("ev", &a, &b), subject("ev", &c, &d));
            prop_assert_eq!(first == second, (a, b) == (c, d));
            let tokens: Vec<_> = first.split('.').collect();
            prop_assert_eq!(tokens.len(), 3);
            for token in tokens {
                prop_assert!(!token.is_empty() && token.len() <= MAX_TOKEN);
                prop_assert!(token.bytes().all(|b| b.is_ascii_graphic() && !b"*>".contains(&b)));
            }
        }
    }
}
