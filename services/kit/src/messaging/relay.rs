//! The relay publishes what is in the outbox, in order, for as long as the service runs.

use crate::messaging::bus_client::BusClient;
use crate::runtime::backoff::Backoff;
use crate::runtime::crash_points;
use crate::runtime::deps::Deps;
use crate::runtime::transport;
use crate::store::{ReadError, Store, WriteError};
use rusqlite::Connection;
use shared::bus::Published;
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The most events in one publication.
const BATCH_EVENTS: i64 = 256;
/// The most bytes in one publication, unless one event alone is larger.
const BATCH_BYTES: usize = 1024 * 1024;
/// How often an idle relay reads the outbox although no commit woke it.
const IDLE_LOOK: Duration = Duration::from_secs(30);

/// Why a publication did not succeed.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the outbox cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the bus cannot be reached: {0}")]
    Transport(#[from] transport::TransportError),
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
                retry_after: transport::retry_after(answer.headers()),
            });
        }
        // Anybody may answer 200 (a proxy, a wrong address): only the log knows where each event is.
        let places = serde_json::from_slice::<Published>(answer.body()).ok().and_then(|p| p.sequences);
        if places.is_none_or(|places| places.len() != count) {
            return Err(RelayError::NotAcknowledged { body: said() });
        }
        crash_points::reach("after-publish");
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
    use crate::messaging::outbox::SCHEMA;

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
