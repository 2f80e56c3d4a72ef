//! The bus over HTTP.

use crate::delivery::array;
use crate::domain::{PublishError, admit};
use crate::log::{EventLog, LogError};
use crate::subscriptions::{RegisterError, Subscriptions};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use kit::http::{ApiError, ApiResult, OperatorToken, RawBody, operator_only};
use kit::messaging::events_body::read_events;
use kit::messaging::signature::{BadSignature, SigningKey};
use kit::runtime::deps::Deps;
use serde::Deserialize;
use shared::bus::{Published, Subscribe, SubscriptionView};
use shared::{ProblemKind, Sequence, ServiceName};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The largest publication, in bytes.
const MAX_PUBLICATION_BYTES: usize = 8 * 1024 * 1024;
/// The most events in one publication.
const MAX_PUBLICATION_EVENTS: usize = 4_096;
/// The largest single event, in bytes of its data: more than any of ours can have.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// How many events are read at once for an answer that may hold all of them.
const PAGE: usize = 1_000;
/// The most bytes of such a page.
const PAGE_BYTES: usize = 1024 * 1024;
/// The most events that `limit` may ask for.
const MAX_LIMIT: usize = 10_000;
/// How often a stream with nothing to say shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the handlers share.
#[derive(Clone)]
pub struct Bus {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The subscribers.
    pub subscriptions: Arc<Subscriptions>,
    /// The keys of those who may publish; nothing where the bus runs `--insecure`.
    pub publishers: Option<Arc<[(ServiceName, SigningKey)]>>,
    /// What the bus takes from the world.
    pub deps: Deps,
    /// Ends the streams.
    pub stopping: CancellationToken,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}

/// The routes of the bus; those that show what events say are the operator's.
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
    /// Who signed this body: nothing where the bus runs `--insecure`.
    fn signer(&self, headers: &HeaderMap, body: &[u8]) -> ApiResult<Option<ServiceName>> {
        let Some(publishers) = &self.publishers else { return Ok(None) };
        let now = self.deps.clock.now();
        let mut worst = BadSignature::Wrong;
        for (name, key) in publishers.iter() {
            match key.verify(headers, now, body) {
                Ok(()) => return Ok(Some(*name)),
                Err(error) => worst = error,
            }
        }
        Err(worst.into())
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
    let admitted = admitted.map_err(|e| ApiError::new(ProblemKind::Forbidden).detail(e.to_string()))?;
    let sequences = bus.log.append(admitted, now).await.map_err(log_failure)?;
    metrics::counter!("events_published_total").increment(sequences.len() as u64);
    let status = "OK".to_owned();
    Ok(Json(if is_batch {
        Published { status, sequence: None, sequences: Some(sequences) }
    } else {
        Published { status, sequence: sequences.first().copied(), sequences: None }
    }))
}

fn log_failure(error: LogError) -> ApiError {
    tracing::error!(%error, "the log refused");
    ProblemKind::Unavailable.into()
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
    // Up to the end as it is now: a log that grows while it is read would never end.
    let end = *bus.log.head().borrow();
    let page = move |log: Arc<dyn EventLog>, after: Sequence, limit: usize| async move {
        let left = usize::try_from(end.get() - after.get()).unwrap_or(0).min(limit).min(PAGE);
        if left == 0 { Ok(Vec::new()) } else { log.read(after, left, PAGE_BYTES).await }
    };
    // The first page before the answer's status: what fails later can only break the answer off.
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
            let json = array(&events);
            let inner = json[1..json.len() - 1].to_owned();
            let text = if is_first { inner } else { format!(",{inner}") };
            Ok(Some((text, (last, limit - events.len(), None))))
        }
    });
    let pages = pages.inspect_err(|error| tracing::error!(%error, "an answer with the log breaks off"));
    let around = |text: &'static str| stream::once(async move { Ok::<_, LogError>(text.to_owned()) });
    let body = Body::from_stream(around("[").chain(pages).chain(around("]")));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn follow(State(bus): State<Bus>, Query(range): Query<Range>, headers: HeaderMap) -> ApiResult {
    let after = match headers.get("last-event-id").and_then(|v| v.to_str().ok()) {
        Some(id) => parse_sequence(id)?,
        None => range.after()?,
    };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    let stopping = bus.stopping.clone();
    let events = follow_log(bus.log, after).take_until(stopping.cancelled_owned());
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(response)
}

/// Every event after a place, and then each one as it is appended.
fn follow_log(log: Arc<dyn EventLog>, after: Sequence) -> impl Stream<Item = Result<SseEvent, Infallible>> {
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
                    tracing::warn!(%error, "a stream of the log waits");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    pages.flatten().map(|event| Ok(SseEvent::default().id(event.sequence.to_string()).data(event.json)))
}

async fn subscribe(State(bus): State<Bus>, headers: HeaderMap, body: RawBody) -> ApiResult {
    let signer = bus.signer(&headers, &body.bytes)?;
    if !body.content_type.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::new(ProblemKind::NotJson).detail("send it as application/json"));
    }
    let value = body.json()?;
    let request: Subscribe = serde_json::from_value(value)
        .map_err(|e| ApiError::new(ProblemKind::Invalid).detail(e.to_string()))?;
    if let Some(signer) = signer.filter(|signer| signer.as_str() != request.name) {
        let detail = format!("{signer} may not subscribe as {}", request.name);
        return Err(ApiError::new(ProblemKind::Forbidden).detail(detail));
    }
    check_subscription(&request)?;
    match bus.subscriptions.register(request).await {
        Ok(subscribed) => Ok((StatusCode::OK, Json(subscribed)).into_response()),
        Err(error @ RegisterError::LostTail { head, .. }) => Err(ApiError::new(ProblemKind::Conflict)
            .detail(error.to_string())
            .member("head", head.to_string().into())),
        Err(error @ RegisterError::Log(_)) => {
            tracing::error!(%error, "a registration failed");
            Err(ProblemKind::Unavailable.into())
        }
        Err(error @ RegisterError::TooMany) => {
            Err(ApiError::new(ProblemKind::TooManyRequests).detail(error.to_string()).retry_after(60))
        }
    }
}

fn check_subscription(request: &Subscribe) -> ApiResult<()> {
    let invalid =
        |field: &str, detail: &str| Err(ApiError::invalid(vec![shared::FieldError::new(field, detail)]));
    let name_is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if request.name.is_empty() || request.name.len() > 64 || !request.name.bytes().all(name_is_plain) {
        return invalid("name", "must be 1 to 64 characters out of a-z, 0-9 and '-'");
    }
    let uri = request.url.parse::<http::Uri>().ok();
    let is_http = uri.is_some_and(|u| u.scheme_str() == Some("http") && u.host().is_some());
    if !is_http || request.url.len() > 2_048 {
        return invalid("url", "must be an http URL of at most 2,048 characters");
    }
    Ok(())
}

async fn subscriptions(State(bus): State<Bus>) -> Json<Vec<SubscriptionView>> {
    Json(bus.subscriptions.views().await)
}

async fn unsubscribe(State(bus): State<Bus>, Path(name): Path<String>) -> ApiResult {
    if bus.subscriptions.remove(&name).await {
        Ok::<Response, ApiError>(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(ApiError::new(ProblemKind::NotFound).detail("there is no subscription of this name"))
    }
}
