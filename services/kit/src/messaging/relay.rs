//! The relay publishes the rows of the outbox, in order, for as long as the service runs.
//!
//! It deletes exactly the rows that the bus has on disk: a row whose deletion is lost with the process is published again
//! after the next start, and the bus knows it by its id. How it finds the next rows depends on the store
//! ([`Store::numbers_in_commit_order`]):
//!
//! - Where no row appears before one that was there already, the relay reads what comes after the last that it has
//!   published, and deletes lazily.
//! - Elsewhere it reads from the start each time, and skips what is published and not deleted yet; it waits only once that
//!   is deleted.
//!
//! A relay that waits gets the rows of the next commit from the writer ([`Handover`]).

mod outbox_rows;
mod place;

use crate::messaging::bus_client::BusClient;
use crate::messaging::trace;
use crate::rt;
use crate::runtime::backoff::Backoff;
use crate::runtime::crash_points;
use crate::runtime::deps::Deps;
use crate::runtime::transport;
use crate::store::{AsOf, Guard, Handover, ReadError, SqlError, Store, Tx, WriteError, values};
use outbox_rows::{Unpublished, oldest};
use place::{Place, Run};
use shared::bus::Published;
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use std::pin::pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// After a publication of so many rows or more, the relay waits a moment for more to come: under load, each publication
/// costs the bus and every consumer more than the rows in it.
const MANY: usize = 16;
/// How long it then waits.
const GATHERING: Duration = Duration::from_millis(5);
/// How long published rows wait for their deletion where nothing else is to be published: the writer is then busy with
/// what follows from them.
const DELETE_AFTER: Duration = Duration::from_millis(50);
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
    Clear(WriteError<SqlError>),
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
        let place = Place::start(self.store.numbers_in_commit_order());
        self.run_from(place, stopping).await;
    }

    async fn run_from(self, mut place: Place, stopping: CancellationToken) {
        let handover = self.store.hand_over(|tx, after| {
            oldest(tx, after, &[]).map(|found| (!found.rows.is_empty()).then_some(found))
        });
        let mut attempts: u32 = 0;
        let mut given = None;
        loop {
            let published = self.publish_some(&mut place, &handover, given.take()).await;
            attempts = if published.is_ok() { 0 } else { attempts.saturating_add(1) };
            metrics::gauge!("outbox_failed_attempts").set(f64::from(attempts));
            let wait = match published {
                Ok(More::No(as_of)) => {
                    tokio::select! {
                        biased;
                        () = stopping.cancelled() => break,
                        rows = self.wait(&mut place, &handover, as_of) => given = rows,
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
                () = stopping.cancelled() => break,
                () = rt::sleep(wait) => {}
            }
        }
        self.delete_published(&mut place).await;
    }

    /// Waits for the next rows. `None` where the outbox has to be read.
    async fn wait(
        &self,
        place: &mut Place,
        handover: &Handover<Unpublished>,
        as_of: AsOf,
    ) -> Option<(Unpublished, AsOf)> {
        if !place.in_order {
            self.delete_published(place).await;
        }
        let mut rows = pin!(handover.next(place.after, as_of));
        let soon = rt::timeout(DELETE_AFTER, &mut rows).await;
        if let Ok(rows) = soon {
            return rows;
        }
        self.delete_published(place).await;
        if let Ok(rows) = rt::timeout(IDLE_POLL_INTERVAL, rows).await {
            return rows;
        }
        place.after = 0;
        None
    }

    /// Publishes the rows that the writer has passed on, or else the oldest of the outbox; returns whether there are
    /// more.
    async fn publish_some(
        &self,
        place: &mut Place,
        handover: &Handover<Unpublished>,
        given: Option<(Unpublished, AsOf)>,
    ) -> Result<More, RelayError> {
        let (Unpublished { mut rows, depth, has_more }, as_of) = if let Some(given) = given {
            given
        } else {
            // Taken before the outbox is read, so that a commit during the read is not missed.
            let as_of = handover.now();
            let (after, published) = (place.after, place.to_delete.clone());
            (self.store.read(move |tx| oldest(tx, after, &published)).await?, as_of)
        };
        // Those given may hold some whose deletion has failed.
        rows.retain(|(row, _)| !place.to_delete.iter().any(|run| run.has(*row)));
        metrics::gauge!("outbox_depth").set(depth as f64);
        let Some(first) = rows.first() else { return Ok(More::No(as_of)) };
        let (count, trace) = (rows.len(), trace::of_json(&first.1));
        let mut body = String::with_capacity(rows.iter().map(|row| row.1.len() + 1).sum::<usize>() + 1);
        for (at, (_, envelope)) in rows.iter().enumerate() {
            body.push(if at == 0 { '[' } else { ',' });
            body.push_str(envelope);
        }
        body.push(']');
        let answer = self.bus.post("/events", CLOUDEVENTS_BATCH_JSON, body.into(), trace);
        // Those of the publication before, if they still wait.
        let (answer, ()) = tokio::join!(biased; answer, self.delete_published(place));
        let answer = answer?;
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
        // Only now: the bus has them on disk.
        place.add_published(&rows);
        Ok(match has_more {
            true => More::Now,
            false if count >= MANY => More::Soon,
            false => More::No(as_of),
        })
    }

    /// Deletes what is published; where the outbox is read from its start, before this returns. What cannot be deleted
    /// stays to be.
    async fn delete_published(&self, place: &mut Place) {
        if place.to_delete.is_empty() {
            return;
        }
        let runs = place.to_delete.clone();
        let delete = move |tx: &Tx<'_>| {
            runs.iter().try_for_each(|Run { first, last }| {
                tx.execute("DELETE FROM outbox WHERE seq BETWEEN $1 AND $2", values![*first, *last]).map(drop)
            })
        };
        let deleted = if place.in_order {
            self.store.write_lazily(delete).await
        } else {
            self.store.write(Guard::None, delete).await
        };
        match deleted {
            Ok(()) => place.to_delete.clear(),
            Err(error) => tracing::warn!(%error, "published rows cannot be deleted from the outbox yet"),
        }
    }

    /// Gives up an event that the bus refuses because the log holds another one under its id: an event derived again
    /// after a store was rebuilt, with different data, since the rules have changed. The logged one wins; otherwise
    /// nothing would ever be published again. Returns how many rows there were.
    async fn drop_row(&self, id: String) -> Result<u64, RelayError> {
        tracing::error!(
            id,
            "the log holds another event under this id: this one is dropped, the log's stays"
        );
        self.store
            .write(Guard::None, move |tx| tx.execute("DELETE FROM outbox WHERE id = $1", values![&id]))
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
    /// Not as of then: a later commit tells.
    No(AsOf),
}

#[cfg(test)]
mod tests;
