//! Events on their way to the bus.
//!
//! A service writes an event into its outbox in the same transaction as the change that the event tells of: either
//! both happen or neither. The relay then publishes what is there, in order, and deletes a row only after the bus
//! has said that it is on disk.

use rusqlite::Connection;
use sha2::{Digest, Sha256};
use shared::{Envelope, Event, Timestamp};
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

/// Puts an event that a command caused into the outbox.
pub fn publish_from_command(
    tx: &Connection,
    event: &Event,
    id: Uuid,
    now: Timestamp,
    traceparent: Option<String>,
) -> rusqlite::Result<()> {
    let mut envelope = Envelope::new(event, id.to_string(), now).map_err(conversion)?;
    envelope.correlationid = Some(id.to_string());
    envelope.traceparent = traceparent;
    put(tx, &envelope, now)
}

/// Puts an event that another event caused into the outbox.
///
/// Its id follows from its cause, so that whoever handles the cause again (after a lost store, say) publishes the
/// same event again, which the bus knows, and not a second one.
pub fn publish_from_event(
    tx: &Connection,
    event: &Event,
    cause: &Envelope,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut envelope =
        Envelope::new(event, reaction_id(event, cause).to_string(), now).map_err(conversion)?;
    envelope.causationid.clone_from(&cause.id);
    envelope.correlationid = cause.correlationid.clone().or_else(|| cause.id.clone());
    envelope.traceparent.clone_from(&cause.traceparent);
    put(tx, &envelope, now)
}

/// A UUID in the form of version 7: the time of the cause, then a digest of the cause and the event's name.
fn reaction_id(event: &Event, cause: &Envelope) -> Uuid {
    let mut digest = Sha256::new();
    for part in [
        cause.source.as_deref().unwrap_or_default(),
        // A bare event has no id: its content stands in for one.
        cause.id.as_deref().unwrap_or_else(|| cause.data.get()),
        event.event_type().as_str(),
        event.key().as_str(),
    ] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let ms = cause.time.map_or(0, |t| t.unix_ms().max(0)).unsigned_abs();
    uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}

fn put(tx: &Connection, envelope: &Envelope, now: Timestamp) -> rusqlite::Result<()> {
    let json = serde_json::to_string(envelope).map_err(conversion)?;
    tx.prepare_cached(
        "INSERT INTO outbox (id, queued_at, envelope) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?
    .execute((&envelope.id, now.unix_ms(), json))?;
    Ok(())
}

fn conversion(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::events::PostCreated;

    fn event() -> Event {
        PostCreated {
            id: "p1".parse().unwrap(),
            title: "T".into(),
            body: String::new(),
            author: String::new(),
            created_at: None,
            version: None,
        }
        .into()
    }

    #[test]
    fn handling_a_cause_again_makes_the_same_event_and_not_a_second() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(SCHEMA).unwrap();
        let now = Timestamp::from_unix_ms(5);
        let cause = Envelope::new(&event(), "cause".into(), now).unwrap();
        let later = Timestamp::from_unix_ms(50_000);
        publish_from_event(&c, &event(), &cause, now).unwrap();
        publish_from_event(&c, &event(), &cause, later).unwrap();
        let mut rows = c.prepare("SELECT envelope FROM outbox").unwrap();
        let rows: Vec<String> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1);
        let made: Envelope = serde_json::from_str(&rows[0]).unwrap();
        assert_eq!(made.causationid.as_deref(), Some("cause"));
        assert_eq!(made.correlationid.as_deref(), Some("cause"));
        let id: Uuid = made.id.unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
        let other = Envelope::new(&event(), "other".into(), now).unwrap();
        assert_ne!(reaction_id(&event(), &other), id);
    }
}
