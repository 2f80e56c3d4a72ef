//! Events on their way to the bus.
//!
//! A service writes an event into its outbox in the same transaction as the change that the event tells of: either
//! both happen or neither. The relay then publishes what is there, in order, and deletes a row only after the bus
//! has said that it is on disk.

use crate::backoff::Backoff;
use crate::bus_client::BusClient;
use crate::crash;
use crate::deps::Deps;
use crate::store::{ReadError, Store, WriteError};
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use shared::views::Published;
use shared::{Envelope, Event, Timestamp};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
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

/// The most events in one publication.
const BATCH_EVENTS: i64 = 256;
/// The most bytes in one publication, unless one event alone is larger.
const BATCH_BYTES: usize = 1024 * 1024;
/// How often an idle relay looks even though nothing woke it.
const IDLE_LOOK: Duration = Duration::from_secs(30);

/// Puts an event that a command caused into the outbox.
pub fn originate(
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
pub fn react(tx: &Connection, event: &Event, cause: &Envelope, now: Timestamp) -> rusqlite::Result<()> {
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

/// Why a publication did not succeed.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the outbox cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the bus cannot be reached: {0}")]
    Transport(#[from] crate::transport::TransportError),
    #[error("the bus answered {status}: {body}")]
    Refused { status: http::StatusCode, body: String, retry_after: Option<Duration> },
    #[error("the bus answered 200 and does not name the place of each event: {body}")]
    NotAcknowledged { body: String },
    #[error("published, but the outbox could not be cleared: {0}")]
    Clear(WriteError<rusqlite::Error>),
}

/// Publishes what is in the outbox, for as long as the service lives.
#[derive(Debug)]
pub struct Relay {
    /// Where the outbox is.
    pub store: Store,
    /// Who publishes.
    pub bus: BusClient,
    /// Randomness for the backoff.
    pub deps: Deps,
}

impl Relay {
    /// Runs until `stopping`. What is left in the outbox then is published at the next start.
    pub async fn run(self, stopping: CancellationToken) {
        let mut attempts: u32 = 0;
        let mut committed = self.store.committed();
        loop {
            // Seen before the look, so that a commit during the look wakes the next one.
            committed.mark_unchanged();
            let wait = match self.publish_some().await {
                Ok(0) => {
                    attempts = 0;
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        changed = committed.changed() => if changed.is_err() { return },
                        () = tokio::time::sleep(IDLE_LOOK) => {}
                    }
                    continue;
                }
                Ok(_) => {
                    attempts = 0;
                    Duration::ZERO
                }
                Err(error) => {
                    attempts += 1;
                    let wait = self.wait_after(&error, attempts);
                    if attempts == 1 || attempts.is_power_of_two() {
                        tracing::warn!(%error, attempts, wait_ms = wait.as_millis(), "publishing failed; trying again");
                    }
                    wait
                }
            };
            metrics::gauge!("outbox_failed_attempts").set(f64::from(attempts));
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn wait_after(&self, error: &RelayError, attempts: u32) -> Duration {
        let jittered = Backoff::SERVICES.delay(attempts, self.deps.ids.random());
        match error {
            RelayError::Refused { retry_after: Some(asked), .. } => jittered.max(*asked),
            _ => jittered,
        }
    }

    /// Publishes the oldest rows; gives back how many.
    async fn publish_some(&self) -> Result<usize, RelayError> {
        let (rows, depth) = self.store.read(oldest).await?;
        metrics::gauge!("outbox_depth").set(depth as f64);
        let Some(last) = rows.last().map(|row| row.0) else { return Ok(0) };
        let count = rows.len();
        let mut body = String::with_capacity(rows.iter().map(|row| row.1.len() + 1).sum::<usize>() + 1);
        for (at, (_, envelope)) in rows.iter().enumerate() {
            body.push(if at == 0 { '[' } else { ',' });
            body.push_str(envelope);
        }
        body.push(']');
        let answer = self.bus.post("/events", CLOUDEVENTS_BATCH_JSON, body.into()).await?;
        let said = || String::from_utf8_lossy(answer.body()).chars().take(300).collect();
        if !answer.status().is_success() {
            return Err(RelayError::Refused {
                status: answer.status(),
                body: said(),
                retry_after: crate::transport::retry_after(answer.headers()),
            });
        }
        // Anybody may answer 200 (a proxy, a wrong address): only the log knows where each event is.
        let places = serde_json::from_slice::<Published>(answer.body()).ok().and_then(|p| p.sequences);
        if places.is_none_or(|places| places.len() != count) {
            return Err(RelayError::NotAcknowledged { body: said() });
        }
        crash::point("after-publish");
        // Only now: the bus has it on disk.
        self.store
            .write(move |tx| tx.prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?.execute([last]))
            .await
            .map_err(RelayError::Clear)?;
        Ok(count)
    }
}

/// The oldest rows that fit one publication, and how many rows there are.
fn oldest(c: &Connection) -> rusqlite::Result<(Vec<(i64, String)>, i64)> {
    let depth = c.prepare_cached("SELECT count(*) FROM outbox")?.query_row([], |row| row.get(0))?;
    let mut statement = c.prepare_cached("SELECT seq, envelope FROM outbox ORDER BY seq LIMIT ?1")?;
    let mut rows = statement.query([BATCH_EVENTS])?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let envelope: String = row.get(1)?;
        bytes += envelope.len();
        if bytes > BATCH_BYTES && !batch.is_empty() {
            break;
        }
        batch.push((row.get(0)?, envelope));
    }
    Ok((batch, depth))
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
        react(&c, &event(), &cause, now).unwrap();
        react(&c, &event(), &cause, later).unwrap();
        let (rows, depth) = oldest(&c).unwrap();
        assert_eq!(depth, 1);
        let made: Envelope = serde_json::from_str(&rows[0].1).unwrap();
        assert_eq!(made.causationid.as_deref(), Some("cause"));
        assert_eq!(made.correlationid.as_deref(), Some("cause"));
        let id: Uuid = made.id.unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
        let other = Envelope::new(&event(), "other".into(), now).unwrap();
        assert_ne!(reaction_id(&event(), &other), id);
    }

    #[test]
    fn one_publication_is_bounded_in_events_and_bytes() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(SCHEMA).unwrap();
        let row = |id: i64, len: usize| {
            let values = (id.to_string(), "x".repeat(len));
            c.execute("INSERT INTO outbox (id, queued_at, envelope) VALUES (?1, 0, ?2)", values).unwrap();
        };
        row(0, BATCH_BYTES + 1);
        row(1, BATCH_BYTES / 2);
        row(2, BATCH_BYTES / 2 + 1);
        assert_eq!(oldest(&c).unwrap().0.len(), 1, "one that is too large goes alone");
        c.execute("DELETE FROM outbox WHERE id = '0'", []).unwrap();
        assert_eq!(oldest(&c).unwrap().0.len(), 1);
        c.execute("DELETE FROM outbox", []).unwrap();
        (0..=BATCH_EVENTS).for_each(|n| row(n, 10));
        let (rows, depth) = oldest(&c).unwrap();
        assert_eq!((rows.len() as i64, depth), (BATCH_EVENTS, BATCH_EVENTS + 1));
        assert!(rows.is_sorted());
    }
}
