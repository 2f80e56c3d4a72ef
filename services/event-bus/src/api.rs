//! The HTTP API of the bus.

use crate::addresses::SubscriberUrls;
use crate::delivery::json_array;
use crate::domain::{PublishError, admit};
use crate::log::{EventLog, IdConflict, LogError};
use crate::registration;
use crate::subscriptions::{RegisterError, RemoveError, Subscriptions};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use kit::http::sse::with_heartbeat;
use kit::http::{ApiError, ApiResult, OperatorToken, RawBody, SecurityEvent, operator_only};
use kit::messaging::events_body::read_events;
use kit::messaging::signature::{BadSignature, SigningKey};
use kit::runtime::deps::Deps;
use kit::store::{SqlError, WriteError};
use serde::Deserialize;
use shared::bus::{Published, Subscribe, SubscriptionView, subscription_parts};
use shared::{FieldError, ProblemKind, Sequence, ServiceName};
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The largest publication, in bytes.
const MAX_PUBLICATION_BYTES: usize = 8 * 1024 * 1024;
/// The most events in one publication.
const MAX_PUBLICATION_EVENTS: usize = 4_096;
/// The largest single event, in bytes of its data: larger than any event of this system.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// How many events are read at once for a response that may stream the whole log.
const PAGE: usize = 1_000;
/// The most bytes of such a page.
const PAGE_BYTES: usize = 1024 * 1024;
/// The highest `limit`.
const MAX_LIMIT: usize = 10_000;

/// What the handlers share.
#[derive(Clone)]
pub struct Bus {
    pub log: Arc<dyn EventLog>,
    pub subscriptions: Arc<Subscriptions>,
    /// The keys of the services that may publish; `None` where the bus runs `--insecure`.
    pub publish_keys: Option<Arc<[(ServiceName, SigningKey)]>>,
    /// Where each service may register.
    pub urls: SubscriberUrls,
    pub deps: Deps,
    pub stopping: CancellationToken,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}

/// The routes of the bus. Only the operator may read events and manage subscriptions.
pub fn router(bus: Bus, operator: OperatorToken) -> Router {
    let guarded = Router::new()
        .route("/events", get(read))
        .route("/events/stream", get(follow))
        .route("/subscriptions", get(subscriptions))
        .route("/subscriptions/{name}", delete(unsubscribe));
    Router::new()
        .route("/events", post(publish).layer(DefaultBodyLimit::max(MAX_PUBLICATION_BYTES)))
        .route("/subscriptions", post(subscribe))
        .merge(operator_only(guarded, operator))
        .with_state(bus)
}

impl Bus {
    /// The service that signed this body; `None` where the bus runs `--insecure`.
    fn signer(&self, headers: &HeaderMap, body: &[u8]) -> ApiResult<Option<ServiceName>> {
        let Some(keys) = &self.publish_keys else { return Ok(None) };
        let now = self.deps.clock.now();
        let mut last_error = BadSignature::Wrong;
        for (name, key) in keys.iter() {
            match key.verify(headers, now, body) {
                Ok(()) => return Ok(Some(*name)),
                Err(error) => last_error = error,
            }
        }
        Err(last_error.into())
    }
}

async fn publish(State(bus): State<Bus>, headers: HeaderMap, body: RawBody) -> ApiResult<Json<Published>> {
    let publisher = bus.signer(&headers, &body.bytes)?;
    let (events, is_batch) = read_events(&body)?;
    if events.len() > MAX_PUBLICATION_EVENTS {
        let detail = format!("at most {MAX_PUBLICATION_EVENTS} events at once; these are {}", events.len());
        return Err(ApiError::new(ProblemKind::TooLarge).detail(detail));
    }
    if events.iter().any(|event| event.data.get().len() > MAX_EVENT_BYTES) {
        return Err(ApiError::new(ProblemKind::TooLarge).detail("an event is larger than 1 MiB"));
    }
    let now = bus.deps.clock.now();
    let admitted: Result<Vec<_>, PublishError> = events
        .into_iter()
        .map(|event| admit(event, publisher, now, || bus.deps.ids.uuid().to_string()))
        .collect();
    let by = publisher.map_or("anybody", ServiceName::as_str);
    let refused = |error: ApiError, why: &dyn Display| {
        tracing::info!(service = by, error = %why, "a publication was refused");
        error.security_event(SecurityEvent::PublicationRefused)
    };
    let admitted = admitted.map_err(|error| refused(refusal(&error), &error))?;
    let sequences = bus.log.append(admitted, now).await.map_err(|error| match error {
        LogError::Conflict(conflict) => refused(id_conflict(&conflict), &conflict),
        error => log_failure(error),
    })?;
    metrics::counter!("events_published_total").increment(sequences.len() as u64);
    let status = "OK".to_owned();
    Ok(Json(if is_batch {
        Published { status, sequence: None, sequences: Some(sequences) }
    } else {
        Published { status, sequence: sequences.first().copied(), sequences: None }
    }))
}

fn refusal(error: &PublishError) -> ApiError {
    match error {
        PublishError::TypeNotOwned { .. } | PublishError::SourceMismatch { .. } => {
            ApiError::new(ProblemKind::Forbidden).detail(error.to_string())
        }
        PublishError::KeyMismatch { attribute } => {
            ApiError::invalid(vec![FieldError::new(attribute, error.to_string())])
        }
    }
}

/// Names the event, so that its publisher can tell which one of a batch it is.
fn id_conflict(conflict: &IdConflict) -> ApiError {
    ApiError::new(ProblemKind::Conflict)
        .detail(conflict.to_string())
        .member("source", conflict.source_name.as_str().into())
        .member("id", conflict.id.as_str().into())
        .member("sequence", conflict.sequence.to_string().into())
}

fn log_failure(error: LogError) -> ApiError {
    if let LogError::DiskFloor { floor } = error {
        return WriteError::<SqlError>::DiskFloor { floor }.into();
    }
    if let LogError::TooLarge(detail) = error {
        return ApiError::new(ProblemKind::TooLarge).detail(detail);
    }
    tracing::error!(%error, "the log cannot be read or written");
    match error {
        LogError::Panicked => ProblemKind::Internal.into(),
        _ => ProblemKind::Unavailable.into(),
    }
}

/// `after` and `limit` of `GET /events`.
#[derive(Debug, Deserialize)]
struct Range {
    after: Option<String>,
    limit: Option<String>,
}

impl Range {
    fn after(&self) -> ApiResult<Sequence> {
        self.after.as_deref().map_or(Ok(Sequence::START), parse_sequence)
    }

    fn limit(&self) -> ApiResult<Option<usize>> {
        let Some(text) = &self.limit else { return Ok(None) };
        let limit = text.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
        limit.map(Some).ok_or_else(|| {
            ApiError::new(ProblemKind::BadRequest)
                .detail(format!("limit must be a number from 1 to {MAX_LIMIT}"))
        })
    }
}

fn parse_sequence(text: &str) -> ApiResult<Sequence> {
    text.parse().map_err(|e: shared::sequence::BadSequence| {
        ApiError::new(ProblemKind::BadRequest).detail(e.to_string())
    })
}

async fn read(State(bus): State<Bus>, Query(range): Query<Range>) -> ApiResult {
    let (after, limit) = (range.after()?, range.limit()?.unwrap_or(usize::MAX));
    // Up to the present end: a log that grows while it is read would never end.
    let end = *bus.log.head().borrow();
    let page = move |log: Arc<dyn EventLog>, after: Sequence, limit: usize| async move {
        let left = usize::try_from(end.get() - after.get()).unwrap_or(0).min(limit).min(PAGE);
        if left == 0 { Ok(Vec::new()) } else { log.read(after, left, PAGE_BYTES).await }
    };
    // The first page before the status: a failure after it can only cut the response off.
    let first = page(Arc::clone(&bus.log), after, limit).await.map_err(log_failure)?;
    let pages = stream::try_unfold((after, limit, Some(first)), move |(after, limit, first)| {
        let log = Arc::clone(&bus.log);
        async move {
            let is_first = first.is_some();
            let events = match first {
                Some(events) => events,
                None => page(log, after, limit).await?,
            };
            let Some(last) = events.last().map(|e| e.sequence) else { return Ok::<_, LogError>(None) };
            let json = json_array(&events);
            let inner = json[1..json.len() - 1].to_owned();
            let text = if is_first { inner } else { format!(",{inner}") };
            Ok(Some((text, (last, limit - events.len(), None))))
        }
    });
    let pages = pages.inspect_err(|error| tracing::error!(%error, "a response with the log is cut off"));
    let around = |text: &'static str| stream::once(async move { Ok::<_, LogError>(text.to_owned()) });
    let body = Body::from_stream(around("[").chain(pages).chain(around("]")));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn follow(State(bus): State<Bus>, Query(range): Query<Range>, headers: HeaderMap) -> ApiResult {
    let after = match headers.get("last-event-id").and_then(|v| v.to_str().ok()) {
        Some(id) => parse_sequence(id)?,
        None => range.after()?,
    };
    let events = with_heartbeat(follow_log(bus.log, after), SseEvent::DEFAULT_KEEP_ALIVE);
    let events = events.take_until(bus.stopping.clone().cancelled_owned());
    let mut response = Sse::new(events.map(Ok::<_, Infallible>)).into_response();
    response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(response)
}

/// Every event after a sequence, and then each one as it is appended.
fn follow_log(log: Arc<dyn EventLog>, after: Sequence) -> impl Stream<Item = SseEvent> {
    let head = log.head();
    let pages = stream::unfold((log, head, after), |(log, mut head, after)| async move {
        loop {
            head.wait_for(|head| *head > after).await.ok()?;
            match log.read(after, PAGE, PAGE_BYTES).await {
                Ok(events) => {
                    let last = events.last()?.sequence;
                    return Some((stream::iter(events), (log, head, last)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream of the log waits until it can be read");
                    kit::rt::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    pages.flatten().map(|event| SseEvent::default().id(event.sequence.to_string()).data(&*event.json))
}

async fn subscribe(State(bus): State<Bus>, headers: HeaderMap, body: RawBody) -> ApiResult {
    let signer = bus.signer(&headers, &body.bytes)?;
    if !body.content_type.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::new(ProblemKind::NotJson).detail("send it as application/json"));
    }
    let value = body.json()?;
    let request: Subscribe = serde_json::from_value(value)
        .map_err(|e| ApiError::new(ProblemKind::Invalid).detail(e.to_string()))?;
    let (service, _) = subscription_parts(&request.name);
    if let Some(signer) = signer.filter(|signer| signer.as_str() != service) {
        return Err(subscription_refused(format!("{signer} may not subscribe as {}", request.name)));
    }
    registration::check(&request)
        .map_err(|(field, detail)| ApiError::invalid(vec![FieldError::new(field, detail)]))?;
    if !bus.urls.allows(&request.name, &request.url) {
        let why = format!("{} may not receive events at {}", request.name, request.url);
        return Err(subscription_refused(why));
    }
    match bus.subscriptions.register(request).await {
        Ok(subscribed) => Ok((StatusCode::OK, Json(subscribed)).into_response()),
        Err(error @ RegisterError::LostTail { head, .. }) => Err(ApiError::new(ProblemKind::Conflict)
            .detail(error.to_string())
            .member("head", head.to_string().into())),
        Err(RegisterError::Log(error)) => Err(log_failure(error)),
        Err(RegisterError::Store(error)) => {
            tracing::error!(%error, "a subscription could not be saved");
            Err(error.into())
        }
        Err(error @ (RegisterError::TooMany | RegisterError::TooManyInstances { .. })) => {
            Err(ApiError::new(ProblemKind::TooManyRequests).detail(error.to_string()).retry_after(60))
        }
    }
}

fn subscription_refused(why: String) -> ApiError {
    tracing::info!(error = why, "a registration was refused");
    ApiError::new(ProblemKind::Forbidden).detail(why).security_event(SecurityEvent::SubscriptionRefused)
}

async fn subscriptions(State(bus): State<Bus>) -> Json<Vec<SubscriptionView>> {
    Json(bus.subscriptions.views().await)
}

async fn unsubscribe(State(bus): State<Bus>, Path(name): Path<String>) -> ApiResult {
    match bus.subscriptions.remove(&name).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(false) => {
            Err(ApiError::new(ProblemKind::NotFound).detail("there is no subscription of this name"))
        }
        Err(error) => {
            tracing::error!(%error, subscriber = name, "a subscription was not deleted");
            Err(match error {
                RemoveError::Store(error) => error.into(),
                RemoveError::Panicked => ProblemKind::Internal.into(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_log_answers_500_and_what_may_pass_503() {
        assert_eq!(log_failure(LogError::Panicked), ApiError::new(ProblemKind::Internal));
        // Without a detail: it may name a path.
        let unavailable = LogError::Unavailable("the disk is full".to_owned());
        assert_eq!(log_failure(unavailable), ApiError::new(ProblemKind::Unavailable));
    }
}
