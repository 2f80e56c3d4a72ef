//! The relay publishes the rows of the outbox, in order, for as long as the service runs.
//!
//! It deletes a row once the bus has it on disk, and lazily: a row whose deletion is lost with the process is published
//! again after the next start, and the bus knows it by its id. Meanwhile the relay remembers how far it has published.

use crate::messaging::bus_client::BusClient;
use crate::messaging::trace;
use crate::rt;
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
/// After a publication of so many rows or more, the relay waits a moment for more to come: under load, each publication
/// costs the bus and every consumer more than the rows in it.
const MANY: usize = 16;
/// How long it then waits.
const GATHERING: Duration = Duration::from_millis(5);
/// How often an idle relay reads the outbox although no commit has woken it.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// Why a publication did not succeed.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the outbox cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the bus cannot be reached: {0}")]
    Transport(#[from] transport::TransportError),
    #[error("the bus answered {status}: {body}")]
    Refused { status: http::StatusCode, body: String, retry_after: Option<Duration> },
    #[error("the bus answered 200 without the sequence of each event: {body}")]
    NotAcknowledged { body: String },
    #[error("published, but the outbox could not be cleared: {0}")]
    Clear(WriteError<rusqlite::Error>),
}

/// Publishes the rows of the outbox.
#[derive(Debug)]
pub struct Relay {
    /// The store with the outbox.
    pub store: Store,
    /// Where events are published.
    pub bus: BusClient,
    /// Randomness for the backoff.
    pub deps: Deps,
}

impl Relay {
    /// Runs until `stopping`. Rows that are left in the outbox then are published after the next start.
    pub async fn run(self, stopping: CancellationToken) {
        let mut attempts: u32 = 0;
        let mut published_to = 0;
        let mut committed = self.store.committed();
        loop {
            // Marked before the outbox is read, so that a commit during the read wakes the next one.
            committed.mark_unchanged();
            let published = self.publish_some(&mut published_to).await;
            attempts = if published.is_ok() { 0 } else { attempts.saturating_add(1) };
            metrics::gauge!("outbox_failed_attempts").set(f64::from(attempts));
            let wait = match published {
                Ok(More::No) => {
                    tokio::select! {
                        biased;
                        () = stopping.cancelled() => return,
                        changed = committed.changed() => if changed.is_err() { return },
                        () = rt::sleep(IDLE_POLL_INTERVAL) => {}
                    }
                    continue;
                }
                Ok(More::Now) => Duration::ZERO,
                Ok(More::Soon) => GATHERING,
                Err(error) => {
                    let wait = wait_after(&error, attempts, self.deps.ids.random());
                    if attempts.is_power_of_two() {
                        tracing::warn!(%error, attempts, wait_ms = wait.as_millis(), "publishing failed; trying again");
                    }
                    wait
                }
            };
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = rt::sleep(wait) => {}
            }
        }
    }

    /// Publishes the oldest rows after `published_to`, and moves it; returns whether there were more.
    async fn publish_some(&self, published_to: &mut i64) -> Result<More, RelayError> {
        let after = *published_to;
        let Unpublished { rows, depth } = self.store.read(move |c| oldest(c, after)).await?;
        metrics::gauge!("outbox_depth").set(depth as f64);
        let (Some(first), Some(last)) = (rows.first(), rows.last().map(|row| row.0)) else {
            return Ok(More::No);
        };
        let (count, trace) = (rows.len(), trace::of_json(&first.1));
        let mut body = String::with_capacity(rows.iter().map(|row| row.1.len() + 1).sum::<usize>() + 1);
        for (at, (_, envelope)) in rows.iter().enumerate() {
            body.push(if at == 0 { '[' } else { ',' });
            body.push_str(envelope);
        }
        body.push(']');
        let answer = self.bus.post("/events", CLOUDEVENTS_BATCH_JSON, body.into(), trace).await?;
        if answer.status() == http::StatusCode::CONFLICT
            && let Ok(Conflict { id }) = serde_json::from_slice(answer.body())
            && self.drop_row(id).await? > 0
        {
            return Ok(More::Now);
        }
        let body_excerpt = || String::from_utf8_lossy(answer.body()).chars().take(300).collect();
        if !answer.status().is_success() {
            return Err(RelayError::Refused {
                status: answer.status(),
                body: body_excerpt(),
                retry_after: transport::retry_after(answer.headers()),
            });
        }
        // Anything may answer 200 (a proxy, a wrong address): only the bus knows the sequence of each event.
        let places = serde_json::from_slice::<Published>(answer.body()).ok().and_then(|p| p.sequences);
        if places.is_none_or(|places| places.len() != count) {
            return Err(RelayError::NotAcknowledged { body: body_excerpt() });
        }
        crash_points::reach("after-publish");
        // Only now: the bus has it on disk.
        self.store
            .write_lazily(move |tx| {
                tx.prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?.execute([last]).map(drop)
            })
            .await
            .map_err(RelayError::Clear)?;
        *published_to = last;
        // What was queued since they were read wakes the relay by its commit.
        Ok(match depth > count as i64 {
            true => More::Now,
            false if count >= MANY => More::Soon,
            false => More::No,
        })
    }

    /// Gives up an event that the bus refuses because the log holds another one under its id: an event derived again
    /// after a store was rebuilt, with different data, since the rules have changed. The logged one wins; otherwise
    /// nothing would ever be published again. Returns how many rows there were.
    async fn drop_row(&self, id: String) -> Result<usize, RelayError> {
        tracing::error!(
            id,
            "the log holds another event under this id: this one is dropped, the log's stays"
        );
        self.store
            .write(move |tx| tx.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id]))
            .await
            .map_err(RelayError::Clear)
    }
}

/// The bus's answer to an event whose id the log already has for another one.
#[derive(serde::Deserialize)]
struct Conflict {
    id: String,
}

fn wait_after(error: &RelayError, attempts: u32, random: u128) -> Duration {
    let jittered = Backoff::SERVICES.delay(attempts, random);
    match error {
        RelayError::Refused { retry_after: Some(asked), .. } => {
            jittered.max(*asked.min(&transport::LONGEST_RETRY_AFTER))
        }
        _ => jittered,
    }
}

/// Whether there are more rows.
enum More {
    /// Certainly.
    Now,
    /// Very likely.
    Soon,
    /// Not that is known: the next commit tells.
    No,
}

struct Unpublished {
    /// The oldest rows that fit one publication: their places and envelopes.
    rows: Vec<(i64, String)>,
    /// How many rows there are in all. Counted by their places, which no row leaves out but one whose event was in the
    /// outbox already: the work must not grow with the outbox.
    depth: i64,
}

fn oldest(c: &Connection, after: i64) -> rusqlite::Result<Unpublished> {
    let mut statement =
        c.prepare_cached("SELECT seq, envelope FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut found = statement.query([after, BATCH_EVENTS])?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let envelope: String = row.get(1)?;
        bytes += envelope.len();
        if bytes > BATCH_BYTES && !rows.is_empty() {
            break;
        }
        rows.push((row.get(0)?, envelope));
    }
    let Some(&(first, _)) = rows.first() else { return Ok(Unpublished { rows, depth: 0 }) };
    let last: i64 = c.prepare_cached("SELECT max(seq) FROM outbox")?.query_row([], |row| row.get(0))?;
    Ok(Unpublished { rows, depth: last - first + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::outbox::SCHEMA;

    #[test]
    fn the_bus_may_ask_for_time_but_not_for_ever() {
        let wait = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            let status = http::StatusCode::SERVICE_UNAVAILABLE;
            wait_after(&RelayError::Refused { status, body: String::new(), retry_after }, 1, 0)
        };
        assert_eq!(wait(60), Duration::from_secs(60));
        assert_eq!(wait(300), Duration::from_secs(300));
        assert_eq!(wait(31_536_000), Duration::from_secs(300));
        assert_eq!(wait(u64::MAX), Duration::from_secs(300));
        assert!(wait(0) > Duration::ZERO, "and the backoff holds in any case");
    }

    #[test]
    fn one_publication_is_bounded_in_events_and_bytes() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(SCHEMA).unwrap();
        let row = |id: i64, len: usize| {
            let values = (id.to_string(), "x".repeat(len));
            c.execute("INSERT INTO outbox (id, queued_at, envelope) VALUES (?1, 0, ?2)", values).unwrap();
        };
        let first = || oldest(&c, 0).unwrap().rows;
        row(0, BATCH_BYTES + 1);
        row(1, BATCH_BYTES / 2);
        row(2, BATCH_BYTES / 2 + 1);
        assert_eq!(first().len(), 1, "one that is too large goes alone");
        c.execute("DELETE FROM outbox WHERE id = '0'", []).unwrap();
        assert_eq!(first().len(), 1);
        c.execute("DELETE FROM outbox", []).unwrap();
        assert_eq!(oldest(&c, 0).unwrap().depth, 0);
        (0..=BATCH_EVENTS).for_each(|n| row(n, 10));
        let Unpublished { rows, depth } = oldest(&c, 0).unwrap();
        assert_eq!((rows.len() as i64, depth), (BATCH_EVENTS, BATCH_EVENTS + 1));
        let rest = oldest(&c, rows.last().unwrap().0).unwrap();
        assert_eq!(
            (rest.rows.len(), rest.depth),
            (1, 1),
            "what is published and still stored is not counted"
        );
        assert_eq!(oldest(&c, rest.rows[0].0).unwrap().depth, 0);
        assert!(rows.is_sorted());
    }
}
