//! How a service takes events: `POST /events`, and what becomes of those that cannot be applied.
//!
//! A delivery is applied in one transaction: what the events change, what they cause (outbox), and the cursor.

use crate::http::{ApiError, ApiResult, OperatorToken, RawBody, operator_only};
use crate::messaging::dead_letters::{self, MAX_LIST};
use crate::messaging::events_body::read_events;
use crate::messaging::signature::{Direction, SigningKey};
use crate::runtime::deps::Deps;
use crate::runtime::secret::Secret;
use crate::store::Store;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::HeaderMap;
use rusqlite::Connection;
use serde::Deserialize;
use shared::bus::{DeadLetterView, Redriven};
use shared::{Envelope, Event, ProblemKind, Sequence, ServiceName, Timestamp};
use std::sync::Arc;

mod apply;

pub use apply::{Applied, apply};

/// The largest delivery, in bytes: a batch of the largest events.
const MAX_DELIVERY_BYTES: usize = 8 * 1024 * 1024;

/// What a service does with each event.
pub trait Handler: Send + Sync + 'static {
    /// Applies one event. May be called again for the same event (after a redrive, or when a lost store refills),
    /// and then must come to the same.
    fn apply(&self, tx: &Connection, received: &Received<'_>) -> Result<(), ApplyError>;
}

/// An event as it arrived.
#[derive(Debug)]
pub struct Received<'a> {
    /// What it says.
    pub event: &'a Event,
    /// What it came in.
    pub envelope: &'a Envelope,
    /// The present.
    pub now: Timestamp,
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The event itself is at fault and will be again: it is parked.
    #[error("{0}")]
    Poison(String),
    /// The store is at fault: the delivery is tried again.
    #[error(transparent)]
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        if crate::store::is_permanent(&error) { Self::Poison(error.to_string()) } else { Self::Store(error) }
    }
}

/// Takes deliveries for one service.
#[derive(Clone)]
pub struct Consumer {
    me: ServiceName,
    store: Store,
    handler: Arc<dyn Handler>,
    deps: Deps,
    key: Option<SigningKey>,
    operator_token: OperatorToken,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Consumer")
    }
}

impl Consumer {
    /// The consumer of the service `me`, which accepts what the holder of `secret` signed; without a secret it
    /// accepts everything. Events that do not concern the service never come to its handler.
    pub fn new(
        me: ServiceName,
        store: Store,
        handler: impl Handler,
        deps: Deps,
        secret: Option<&Secret>,
        operator_token: OperatorToken,
    ) -> Self {
        let key = secret.map(|s| SigningKey::derive(s, Direction::Deliver));
        Self { me, store, handler: Arc::new(handler), deps, key, operator_token }
    }

    /// `POST /events`, `GET /dead-letters`, `POST /dead-letters/{id}/redrive` and `/discard`.
    pub fn router(self) -> Router {
        let letters = Router::new()
            .route("/dead-letters", get(list))
            .route("/dead-letters/{id}/redrive", post(redrive))
            .route("/dead-letters/{id}/discard", post(discard));
        Router::new()
            .route("/events", post(deliver).layer(DefaultBodyLimit::max(MAX_DELIVERY_BYTES)))
            .merge(operator_only(letters, self.operator_token.clone()))
            .with_state(self)
    }
}

async fn deliver(
    State(consumer): State<Consumer>,
    headers: HeaderMap,
    body: RawBody,
) -> ApiResult<Json<serde_json::Value>> {
    let now = consumer.deps.clock.now();
    if let Some(key) = &consumer.key {
        key.verify(&headers, now, &body.bytes)?;
    }
    let (events, _) = read_events(&body)?;
    let handler = Arc::clone(&consumer.handler);
    let applied =
        consumer.store.write(move |tx| apply(tx, consumer.me, handler.as_ref(), &events, now)).await;
    match applied? {
        Applied::All { .. } => Ok(Json(serde_json::json!({}))),
        Applied::Gap { cursor } => Err(gap(cursor)),
    }
}

fn gap(cursor: Sequence) -> ApiError {
    ApiError::new(ProblemKind::Conflict)
        .detail("events before this one are missing; go on from the cursor")
        .member("cursor", cursor.to_string().into())
}

/// Which dead letters are asked for: those after an id, and how many of them.
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

async fn list(
    State(consumer): State<Consumer>,
    Query(page): Query<Page>,
) -> ApiResult<Json<Vec<DeadLetterView>>> {
    Ok(Json(consumer.store.read(move |c| dead_letters::list(c, page.after, page.limit)).await?))
}

async fn redrive(State(consumer): State<Consumer>, Path(id): Path<String>) -> ApiResult<Json<Redriven>> {
    settle(consumer, &id, false).await
}

async fn discard(State(consumer): State<Consumer>, Path(id): Path<String>) -> ApiResult<Json<Redriven>> {
    settle(consumer, &id, true).await
}

async fn settle(consumer: Consumer, id: &str, discard: bool) -> ApiResult<Json<Redriven>> {
    let unknown = || ApiError::new(ProblemKind::NotFound).detail("no event with this id waits here");
    let id: i64 = id.parse().map_err(|_| unknown())?;
    let now = consumer.deps.clock.now();
    let handler = Arc::clone(&consumer.handler);
    let settled = consumer.store.write(move |tx| apply::settle(tx, handler.as_ref(), id, discard, now)).await;
    let redriven = settled?.ok_or_else(unknown)?;
    tracing::info!(
        dead_letter.id = id,
        discard,
        applied = redriven.applied,
        remaining = redriven.remaining,
        "an operator settled a dead letter"
    );
    Ok(Json(redriven))
}

#[cfg(test)]
mod tests;
