//! The routes by which a service consumes events: `POST /events`, and the dead letters of those that cannot be applied.
//!
//! A delivery is applied in one transaction: what the events change, what they cause (outbox), and the cursor.

use crate::http::{ApiError, ApiResult, OperatorToken, RawBody, operator_only};
use crate::messaging::dead_letters::{self, MAX_LIST};
use crate::messaging::events_body::read_events;
use crate::messaging::signature::{Direction, SigningKey};
use crate::rt;
use crate::runtime::deps::Deps;
use crate::runtime::secret::Secret;
use crate::store::{Durability, Guard, SqlError, Store, Tx};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::HeaderMap;
use serde::Deserialize;
use shared::bus::{DeadLetterView, Redriven};
use shared::{Envelope, Event, ProblemKind, Sequence, ServiceName, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};

mod apply;
mod incoming;

use apply::{Applied, Applier};
use incoming::Incoming;

/// The largest delivery, in bytes. The bus sends batches of up to 4 MiB.
const MAX_DELIVERY_BYTES: usize = 8 * 1024 * 1024;
/// From this length on, a delivery is read while it is applied, which is faster by more than the second thread costs.
const LARGE_BYTES: usize = 256 * 1024;

/// What a service does with each event.
pub trait Handler: Send + Sync + 'static {
    /// What [`Handler::apply`] leaves for [`Handler::finish`] to write: once for a whole delivery, which is cheaper than
    /// once for each event. `()` where that is nothing.
    type Pending: Default;

    /// Applies one event. May be called again for the same event (after a redrive, or when a lost store is rebuilt),
    /// and must then have the same result. What it reads from the store lacks what is still `pending`.
    fn apply(
        &self,
        tx: &Tx<'_>,
        received: &Received<'_>,
        pending: &mut Self::Pending,
    ) -> Result<(), ApplyError>;

    /// Writes what is still pending, in the savepoint of the events that it comes from: all are kept, or none. Called
    /// after the last event of a delivery; after each one where one of them fails, which is parked if this fails for it.
    fn finish(&self, _tx: &Tx<'_>, _pending: Self::Pending) -> Result<(), ApplyError> {
        Ok(())
    }

    /// Called after the commit that applied these events, when every reader finds what they changed: the place to wake
    /// those who wait for it. It must be quick, and is not called for events that were parked or skipped.
    fn after_commit(&self, _applied: &[Event]) {}
}

/// An event as it arrived.
#[derive(Debug)]
pub struct Received<'a> {
    /// The event, read from the envelope.
    pub event: &'a Event,
    /// The envelope: the cause of the events that the handler publishes.
    pub envelope: &'a Envelope,
    /// The time of the delivery.
    pub now: Timestamp,
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The event is at fault, and would fail again: it is parked.
    #[error("{0}")]
    Poison(String),
    /// The store is at fault: the delivery is refused, and comes again.
    #[error(transparent)]
    Store(SqlError),
}

impl From<SqlError> for ApplyError {
    fn from(error: SqlError) -> Self {
        if error.is_permanent() { Self::Poison(error.to_string()) } else { Self::Store(error) }
    }
}

/// Consumes deliveries for one service.
pub struct Consumer<H> {
    inner: Arc<Inner<H>>,
}

struct Inner<H> {
    me: ServiceName,
    store: Store,
    handler: Arc<H>,
    deps: Deps,
    key: Option<SigningKey>,
    operator_token: OperatorToken,
}

impl<H> Clone for Consumer<H> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<H> std::fmt::Debug for Consumer<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Consumer")
    }
}

impl<H: Handler> Consumer<H> {
    /// The consumer of the service `me`. It accepts deliveries signed with `secret`, or all if there is none. Events
    /// that do not concern the service never reach its handler.
    pub fn new(
        me: ServiceName,
        store: Store,
        handler: H,
        deps: Deps,
        secret: Option<&Secret>,
        operator_token: OperatorToken,
    ) -> Self {
        let key = secret.map(|s| SigningKey::derive(s, Direction::Deliver));
        let handler = Arc::new(handler);
        Self { inner: Arc::new(Inner { me, store, handler, deps, key, operator_token }) }
    }

    /// `POST /events`, `GET /dead-letters`, `POST /dead-letters/{id}/redrive` and `/discard`.
    pub fn router(self) -> Router {
        let letters = Router::new()
            .route("/dead-letters", get(list::<H>))
            .route("/dead-letters/{id}/redrive", post(redrive::<H>))
            .route("/dead-letters/{id}/discard", post(discard::<H>));
        Router::new()
            .route("/events", post(deliver::<H>).layer(DefaultBodyLimit::max(MAX_DELIVERY_BYTES)))
            .merge(operator_only(letters, self.inner.operator_token.clone()))
            .with_state(self)
    }

    /// Applies events in one write, and calls [`Handler::after_commit`], also where the client has left: a repeated
    /// delivery skips what is applied, so there would be no second call.
    async fn commit<T: Send + 'static>(
        &self,
        now: Timestamp,
        act: impl Fn(&mut Applier<'_, H>, &Tx<'_>) -> Result<(T, Durability), SqlError> + Send + 'static,
    ) -> ApiResult<T> {
        let Inner { me, store, handler, .. } = &*self.inner;
        let (me, handler, inside) = (*me, Arc::clone(handler), Arc::clone(handler));
        let write = move |tx: &Tx<'_>| {
            let mut applier = Applier::new(me, inside.as_ref(), now);
            let (outcome, durability) = act(&mut applier, tx)?;
            Ok::<_, SqlError>(((outcome, applier.outcome), durability))
        };
        let after_commit = move |(_, apply::Outcome { applied, parked }): &(T, apply::Outcome)| {
            metrics::counter!("events_parked_total").increment(*parked);
            handler.after_commit(applied);
        };
        let (outcome, _) = store.write_then(Guard::Consumer, write, after_commit).await?;
        Ok(outcome)
    }

    /// The events stay the caller's: freeing many takes time, for which no write needs to wait.
    async fn apply(&self, now: Timestamp, events: &Arc<Mutex<Incoming>>) -> ApiResult<Applied> {
        let events = Arc::clone(events);
        self.commit(now, move |applier, tx| {
            // A second run finds what the first one has received.
            applier.apply(tx, &mut events.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
    }
}

async fn deliver<H: Handler>(
    State(consumer): State<Consumer<H>>,
    headers: HeaderMap,
    body: RawBody,
) -> ApiResult<Json<serde_json::Value>> {
    let now = consumer.inner.deps.clock.now();
    if let Some(key) = &consumer.inner.key {
        key.verify(&headers, now, &body.bytes)?;
    }
    let applied = if body.bytes.len() < LARGE_BYTES {
        let (events, _) = read_events(&body)?;
        consumer.apply(now, &Arc::new(Mutex::new(events.into()))).await?
    } else {
        let (events, read) = Incoming::reading(body, consumer.inner.me);
        let reading = rt::spawn(rt::unblock(read));
        let events = Arc::new(Mutex::new(events));
        let applied = consumer.apply(now, &events).await;
        // Where the delivery cannot be read, that is the error.
        reading.await.and_then(|read| read).map_err(stopped)??;
        rt::spawn(rt::unblock(move || drop(events)));
        applied?
    };
    match applied {
        Applied::All { .. } => Ok(Json(serde_json::json!({}))),
        Applied::Gap { cursor } => Err(gap(cursor)),
        // Reported above.
        Applied::Nothing => Err(ProblemKind::Internal.into()),
    }
}

/// The panic hook has logged a panic; without one, the process is stopping.
fn stopped(error: rt::TaskError) -> ApiError {
    let kind = if error.is_panic() { ProblemKind::Internal } else { ProblemKind::Unavailable };
    kind.into()
}

fn gap(cursor: Sequence) -> ApiError {
    ApiError::new(ProblemKind::Conflict)
        .detail("events before this one are missing; continue after the cursor")
        .member("cursor", cursor.to_string().into())
}

/// A page of dead letters: those after an id, at most `limit`.
#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    after: i64,
    #[serde(default = "Page::limit")]
    limit: usize,
}

impl Page {
    const fn limit() -> usize {
        MAX_LIST
    }
}

async fn list<H: Handler>(
    State(consumer): State<Consumer<H>>,
    Query(page): Query<Page>,
) -> ApiResult<Json<Vec<DeadLetterView>>> {
    Ok(Json(consumer.inner.store.read(move |tx| dead_letters::list(tx, page.after, page.limit)).await?))
}

async fn redrive<H: Handler>(
    State(consumer): State<Consumer<H>>,
    Path(id): Path<String>,
) -> ApiResult<Json<Redriven>> {
    resolve(consumer, &id, false).await
}

async fn discard<H: Handler>(
    State(consumer): State<Consumer<H>>,
    Path(id): Path<String>,
) -> ApiResult<Json<Redriven>> {
    resolve(consumer, &id, true).await
}

async fn resolve<H: Handler>(consumer: Consumer<H>, id: &str, discard: bool) -> ApiResult<Json<Redriven>> {
    let unknown = || ApiError::new(ProblemKind::NotFound).detail("no waiting event has this id");
    let id: i64 = id.parse().map_err(|_| unknown())?;
    let now = consumer.inner.deps.clock.now();
    let resolved = consumer
        .commit(now, move |applier, tx| {
            let redriven = if discard { applier.discard(tx, id) } else { applier.redrive(tx, id) };
            redriven.map(|redriven| (redriven, Durability::Now))
        })
        .await?;
    let redriven = resolved.ok_or_else(unknown)?;
    tracing::info!(
        dead_letter.id = id,
        discard,
        applied = redriven.applied,
        remaining = redriven.remaining,
        "an operator resolved a dead letter"
    );
    Ok(Json(redriven))
}

#[cfg(test)]
mod tests;
