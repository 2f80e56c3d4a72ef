//! The HTTP API of query, which only reads.

use crate::document::Document;
use crate::domain::Post;
use crate::events::Awaited;
use crate::live::{self, Live};
use crate::replica::{self, Replica};
use crate::store::{self, Listed};
use crate::stream_slots::StreamSlots;
use crate::thread;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, header};
use kit::http::sse::with_heartbeat;
use kit::http::{ApiError, ApiResult, ClientAddress, OperatorToken, operator_only};
use kit::runtime::key_waiters::KeyWaiters;
use kit::store::{Store, Tx};
use serde::Deserialize;
use shared::views::{DEFAULT_PAGE, MAX_PAGE, PostPage, PostSummary};
use shared::{PostId, ProblemKind, Sequence, Timestamp};
use std::convert::Infallible;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    /// The answer to the course's `GET /posts`.
    pub posts: Document,
    /// Requests that wait for a post or a comment.
    pub waiters: KeyWaiters<Awaited>,
    pub live: Live,
    pub slots: StreamSlots,
    pub replica: Replica,
    /// Ends the streams and the waits.
    pub stopping: CancellationToken,
}

pub fn router(api: Api, operator: OperatorToken) -> Router {
    let guarded = Router::new().route("/read-model", get(read_model));
    Router::new()
        .route("/posts", get(posts))
        .route("/query/posts/{id}", get(thread::thread))
        .route("/live", get(listen))
        .merge(operator_only(guarded, operator))
        .with_state(api)
}

/// `limit` and `cursor` of `GET /posts`.
#[derive(Debug, Deserialize)]
struct Page {
    limit: Option<String>,
    cursor: Option<String>,
}

pub(crate) fn bad_request(detail: impl Into<String>) -> ApiError {
    ApiError::new(ProblemKind::BadRequest).detail(detail)
}

/// The `limit` of a page.
pub(crate) fn limit(text: Option<&str>, default: usize) -> ApiResult<usize> {
    let Some(text) = text else { return Ok(default) };
    let limit = text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n));
    limit.ok_or_else(|| bad_request(format!("limit must be a number from 1 to {MAX_PAGE}")))
}

impl Page {
    fn before(&self) -> ApiResult<Option<(Timestamp, PostId)>> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let parts = text.split_once('~');
        let parsed =
            parts.and_then(|(ms, id)| Some((Timestamp::from_unix_ms(ms.parse().ok()?), id.parse().ok()?)));
        parsed.map(Some).ok_or_else(|| bad_request("invalid cursor"))
    }
}

fn cursor_after(post: &Post) -> String {
    format!("{}~{}", post.position.created_at.map_or(0, Timestamp::unix_ms), post.id)
}

/// With `limit` or `cursor` a page of posts, newest first; without them the course's answer: one JSON object of all posts, keyed by id.
async fn posts(State(api): State<Api>, Query(page): Query<Page>, headers: HeaderMap) -> ApiResult {
    let (limit, before) = (limit(page.limit.as_deref(), DEFAULT_PAGE)?, page.before()?);
    let minimum = replica::minimum(&headers)?;
    if let Some(behind) = api.replica.behind(minimum).await? {
        return Ok(behind);
    }
    if page.limit.is_none() && page.cursor.is_none() {
        let (response, sequence) = api.posts.response(minimum).await?;
        return Ok(api.replica.up_to_date(response, sequence));
    }
    let read = move |tx: &Tx<'_>| Ok((store::list(tx, before, limit + 1)?, store::last_change(tx)?.1));
    let (mut found, sequence) = api.store.read(read).await?;
    let next = (found.len() > limit)
        .then(|| found.truncate(limit))
        .and(found.last())
        .map(|listed| cursor_after(&listed.post));
    let items = found.into_iter().map(|Listed { post, excerpt, approved }| PostSummary {
        post: post.headline(),
        excerpt,
        comment_count: approved,
    });
    let page = PostPage { items: items.collect(), next, sequence };
    Ok(api.replica.up_to_date(axum::Json(page).into_response(), sequence))
}

/// `post` and `after` of `GET /live`.
#[derive(Debug, Deserialize)]
struct Listen {
    post: Option<String>,
    after: Option<String>,
}

impl Listen {
    /// `after` begins a stream where a page ends. `Last-Event-ID`, which a browser sends when it opens the same address
    /// again, is later.
    fn after(&self, headers: &HeaderMap) -> ApiResult<Option<Sequence>> {
        let invalid = |name: &str| bad_request(format!("invalid {name}"));
        match (headers.get("last-event-id"), &self.after) {
            (Some(id), _) => {
                let id = id.to_str().ok().and_then(|text| text.parse().ok());
                id.map(Some).ok_or_else(|| invalid("Last-Event-ID"))
            }
            (None, Some(text)) => text.parse().map(Some).map_err(|_| invalid("after")),
            (None, None) => Ok(None),
        }
    }
}

async fn listen(
    State(api): State<Api>,
    Query(parameters): Query<Listen>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
) -> ApiResult {
    let slot = api.slots.take(client, &headers)?;
    let post: Option<PostId> = match &parameters.post {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| bad_request("post is not an id"))?),
    };
    let after = parameters.after(&headers)?;
    if let Some(behind) = api.replica.behind_stream(after, replica::minimum(&headers)?).await? {
        return Ok(behind);
    }
    let (changes, sequence) = api.live.listen(after, post).await?;
    let changes = with_heartbeat(changes, live::HEARTBEAT);
    // A child token: each stream checks it each time it wakes, and would contend for a shared one.
    let changes = changes.take_until(api.stopping.child_token().cancelled_owned()).inspect(move |_| {
        let _held = &slot;
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let response = (headers, Body::from_stream(changes.map(Ok::<_, Infallible>))).into_response();
    Ok(api.replica.up_to_date(response, sequence))
}

async fn read_model(State(api): State<Api>) -> ApiResult {
    let text = api.store.read(store::dump).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}
