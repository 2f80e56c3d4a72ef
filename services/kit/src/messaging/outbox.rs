//! Events on their way to the bus.
//!
//! A service writes an event to its outbox in the same transaction as the change that the event reports: either both
//! happen or neither. The relay then publishes the rows in order, and deletes each only after the bus has answered that
//! it is on disk, or that the log holds another event under its id (which wins).

use crate::messaging::trace;
use crate::store::{SqlError, Tx, values};
use sha2::{Digest, Sha256};
use shared::events::EventDiscarded;
use shared::{Envelope, Event, ServiceName, Timestamp};
use uuid::Uuid;

/// The outbox's table, for a service's first migration.
pub const SCHEMA: &str = "
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        queued_at INTEGER NOT NULL,
        envelope TEXT NOT NULL
    ) STRICT;
";

/// The id of an event is in the outbox already, with other data. An event's id is derived from its cause, its type
/// and its post: of two different events of one type for one post, the second would be lost without this error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("another {kind} with the id {id} and other data waits in the outbox")]
pub struct IdTaken {
    kind: String,
    id: String,
}

/// An event that is ready for the outbox.
#[derive(Debug, Clone)]
pub struct Queued {
    envelope: Envelope,
    json: String,
    now: Timestamp,
}

impl Queued {
    /// An event that a command causes: made before the transaction, which others wait for.
    pub fn from_command(
        event: &Event,
        id: Uuid,
        now: Timestamp,
        traceparent: Option<String>,
    ) -> Result<Self, SqlError> {
        let mut envelope = Envelope::new(event, id.to_string(), now).map_err(SqlError::data)?;
        envelope.correlationid = Some(id.to_string());
        envelope.traceparent = traceparent;
        Self::new(envelope, now)
    }

    fn new(envelope: Envelope, now: Timestamp) -> Result<Self, SqlError> {
        let json = serde_json::to_string(&envelope).map_err(SqlError::data)?;
        Ok(Self { envelope, json, now })
    }

    /// Puts it into the outbox.
    pub fn put(&self, tx: &Tx<'_>) -> Result<(), SqlError> {
        let Self { envelope, json, now } = self;
        let added = tx.execute(
            "INSERT INTO outbox (id, queued_at, envelope) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
            values![&envelope.id, now.unix_ms(), json],
        )?;
        if added == 1 || queued_data(tx, envelope)? == envelope.data.get() {
            return Ok(());
        }
        let (kind, id) = (envelope.kind.clone(), envelope.id.clone().unwrap_or_default());
        Err(SqlError::data(IdTaken { kind, id }))
    }
}

/// Queues an event that another event caused.
///
/// Its id is deterministic, derived from the causing event: a service that handles the cause again (after a lost store,
/// say) publishes the same event again, which the bus recognises. One cause may have one event of each type for each
/// post; a second one with other data is an error ([`IdTaken`]).
pub fn publish_from_event(
    tx: &Tx<'_>,
    event: &Event,
    cause: &Envelope,
    now: Timestamp,
) -> Result<(), SqlError> {
    let id = caused_id(event.event_type().as_str(), event.key().as_str(), cause);
    let envelope = Envelope::new(event, id.to_string(), now).map_err(SqlError::data)?;
    put_caused(tx, envelope, event.event_type().publisher(), cause, now)
}

/// Queues the discard of an event by `service`. Events without a sequence are never delivered again,
/// so their discard is not published.
pub(crate) fn publish_discard(
    tx: &Tx<'_>,
    service: ServiceName,
    discarded: &Envelope,
    now: Timestamp,
) -> Result<(), SqlError> {
    let (Some(_), Some(source), Some(id)) = (discarded.sequence, &discarded.source, &discarded.id) else {
        return Ok(());
    };
    let data = EventDiscarded { event_source: source.clone(), event_id: id.clone() };
    let id = caused_id(EventDiscarded::TYPE, service.as_str(), discarded);
    let envelope = Envelope::of_discard(&data, service, id.to_string(), now).map_err(SqlError::data)?;
    put_caused(tx, envelope, service, discarded, now)
}

fn put_caused(
    tx: &Tx<'_>,
    mut envelope: Envelope,
    publisher: ServiceName,
    cause: &Envelope,
    now: Timestamp,
) -> Result<(), SqlError> {
    envelope.causationid.clone_from(&cause.id);
    envelope.correlationid = cause.correlationid.clone().or_else(|| cause.id.clone());
    envelope.traceparent = trace::span(cause, publisher).map(|span| span.to_string());
    Queued::new(envelope, now)?.put(tx)
}

/// A UUID in the form of version 7: the time of the cause, then a digest of the cause and of what it causes.
fn caused_id(kind: &str, key: &str, cause: &Envelope) -> Uuid {
    let mut digest = Sha256::new();
    for part in [
        cause.source.as_deref().unwrap_or_default(),
        // A bare event has no id: its content stands in for one.
        cause.id.as_deref().unwrap_or_else(|| cause.data.get()),
        kind,
        key,
    ] {
        // Never `usize`: the id must be the same on every machine.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let ms = cause.time.map_or(0, |t| t.unix_ms().max(0)).unsigned_abs();
    uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}

/// The data of the queued event with the same id.
fn queued_data(tx: &Tx<'_>, envelope: &Envelope) -> Result<String, SqlError> {
    tx.one("SELECT envelope FROM outbox WHERE id = $1", values![&envelope.id], |row| {
        let queued: Envelope = serde_json::from_str(row.text(0)?).map_err(SqlError::data)?;
        Ok(queued.data.get().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;
    use shared::events::PostCreated;

    fn event(title: &str) -> Event {
        PostCreated {
            id: "p1".parse().unwrap(),
            title: title.into(),
            body: String::new(),
            author: String::new(),
            created_at: None,
            version: None,
        }
        .into()
    }

    fn outbox() -> Memory {
        Memory::new(&[&[SCHEMA]])
    }

    fn rows(tx: &Tx<'_>) -> Vec<Envelope> {
        let sql = "SELECT envelope FROM outbox ORDER BY seq";
        tx.query(sql, &[], |row| serde_json::from_str(row.text(0)?).map_err(SqlError::data)).unwrap()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    #[test]
    fn handling_a_cause_again_makes_the_same_event_and_not_a_second() {
        let outbox = outbox();
        let tx = &outbox.tx();
        let mut cause = Envelope::new(&event("T"), "cause".into(), at(5)).unwrap();
        cause.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
        publish_from_event(tx, &event("T"), &cause, at(5)).unwrap();
        publish_from_event(tx, &event("T"), &cause, at(50_000)).unwrap();
        let [made] = &rows(tx)[..] else { panic!("not one row") };
        assert_eq!(made.causationid.as_deref(), Some("cause"));
        assert_eq!(made.correlationid.as_deref(), Some("cause"));
        let trace = made.traceparent.clone().unwrap();
        assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "the same trace: {trace}");
        assert_ne!(cause.traceparent, made.traceparent, "and a span of its own");
        let other = Envelope::new(&event("T"), "other".into(), at(5)).unwrap();
        publish_from_event(tx, &event("T"), &other, at(5)).unwrap();
        assert_eq!(rows(tx).len(), 2);
    }

    #[test]
    fn a_second_event_of_the_same_type_and_post_from_one_cause_is_an_error() {
        let outbox = outbox();
        let tx = &outbox.tx();
        let cause = Envelope::new(&event("T"), "cause".into(), at(5)).unwrap();
        publish_from_event(tx, &event("one"), &cause, at(5)).unwrap();
        let error = publish_from_event(tx, &event("two"), &cause, at(5)).unwrap_err();
        assert!(error.to_string().contains("other data"), "{error}");
        assert!(error.is_permanent(), "its cause is parked");
        assert_eq!(rows(tx).len(), 1);
    }

    /// Logs hold ids that were made so, and a service that rebuilds a lost store must come to the same.
    #[test]
    fn the_id_of_a_caused_event_never_changes() {
        let cause = Envelope::new(&event("T"), "cause".into(), at(5)).unwrap();
        let id = caused_id("PostCreated", "p1", &cause);
        assert_eq!(id.to_string(), "00000000-0005-704f-b4e0-ea3b52b50372");
        assert_eq!(id.get_version_num(), 7);
    }
}
