//! The HTTP API of query, which only reads.

use crate::cache::Cache;
use crate::domain::{Post, excerpt};
use crate::live::Live;
use crate::store;
use crate::stream_places::StreamPlaces;
use axum::Router;
use axum::extract::{Extension, Path, Query, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::routing::get;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use kit::http::author::AuthorToken;
use kit::http::sse::with_heartbeat;
use kit::http::{ApiError, ApiResult, ClientAddress, OperatorToken, json_bytes, operator_only};
use kit::rt;
use kit::store::Store;
use rusqlite::Connection;
use serde::Deserialize;
use shared::views::{
    CommentView, DEFAULT_PAGE, MAX_PAGE, MAX_WAIT_MS, PostPage, PostSummary, PostWithComments,
};
use shared::{CommentId, PostId, ProblemKind, Sequence, Timestamp};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    /// The answer to the course's `GET /posts`.
    pub posts: Cache,
    pub live: Live,
    pub places: StreamPlaces,
    /// Ends the streams and the waits.
    pub stopping: CancellationToken,
}

pub fn router(api: Api, operator: OperatorToken) -> Router {
    let guarded = Router::new().route("/read-model", get(read_model));
    Router::new()
        .route("/posts", get(posts))
        .route("/query/posts/{id}", get(post))
        .route("/live", get(live))
        .merge(operator_only(guarded, operator))
        .with_state(api)
}

/// `limit` and `cursor` of `GET /posts`.
#[derive(Debug, Deserialize)]
struct Page {
    limit: Option<String>,
    cursor: Option<String>,
}

fn bad_request(detail: impl Into<String>) -> ApiError {
    ApiError::new(ProblemKind::BadRequest).detail(detail)
}

impl Page {
    fn limit(&self) -> ApiResult<usize> {
        let Some(text) = &self.limit else { return Ok(DEFAULT_PAGE) };
        let limit = text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n));
        limit.ok_or_else(|| bad_request(format!("limit must be a number from 1 to {MAX_PAGE}")))
    }

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
async fn posts(State(api): State<Api>, Query(page): Query<Page>) -> ApiResult {
    if page.limit.is_none() && page.cursor.is_none() {
        return api.posts.get(&api.store).await.map(json_bytes);
    }
    let (limit, before) = (page.limit()?, page.before()?);
    let mut found = api.store.read(move |c| store::page(c, before, limit + 1)).await?;
    let next = (found.len() > limit)
        .then(|| found.truncate(limit))
        .and(found.last())
        .map(|(post, _)| cursor_after(post));
    let items = found.into_iter().map(|(post, comment_count)| PostSummary {
        excerpt: excerpt(&post.body),
        post: post.headline(),
        comment_count,
    });
    let page = PostPage { items: items.collect(), next };
    Ok(axum::Json(page).into_response())
}

/// `wait` and `comment` of `GET /query/posts/{id}`.
#[derive(Debug, Deserialize)]
struct Wait {
    wait: Option<String>,
    comment: Option<String>,
}

async fn post(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
    headers: HeaderMap,
) -> ApiResult {
    let unknown = || ApiError::new(ProblemKind::NotFound).detail("there is no such post");
    let id: PostId = id.parse().map_err(|_| unknown())?;
    let wait_for = match &wait.wait {
        None => Duration::ZERO,
        Some(text) => match text.parse() {
            Ok(ms) if ms <= MAX_WAIT_MS => Duration::from_millis(ms),
            _ => return Err(bad_request(format!("wait must be a number from 0 to {MAX_WAIT_MS}"))),
        },
    };
    let comment: Option<CommentId> = match &wait.comment {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| bad_request("comment is not an id"))?),
    };
    let key = AuthorToken::from_headers(&headers).map(|token| token.key());
    let known = wait_until_known(&api, &id, comment.as_ref(), wait_for, key.as_deref());
    let found = known.await?.ok_or_else(unknown)?;
    Ok(axum::Json(found).into_response())
}

/// Answers as soon as the post, and the comment if one is named, is known; at the latest after `wait`, with what is
/// known then.
async fn wait_until_known(
    api: &Api,
    id: &PostId,
    comment: Option<&CommentId>,
    wait: Duration,
    key: Option<&str>,
) -> ApiResult<Option<PostWithComments>> {
    let mut deadline = pin!(rt::sleep(wait));
    let mut committed = api.store.committed();
    loop {
        committed.mark_unchanged();
        let (id, key) = (id.clone(), key.map(str::to_owned));
        let found = api.store.read(move |c| with_comments(c, &id, key.as_deref())).await?;
        let has = |c: &CommentId| found.as_ref().is_some_and(|p| p.comments.iter().any(|view| view.id == *c));
        if wait.is_zero() || (found.is_some() && comment.is_none_or(has)) {
            return Ok(found);
        }
        tokio::select! {
            biased;
            () = api.stopping.cancelled() => return Ok(found),
            () = &mut deadline => return Ok(found),
            changed = committed.changed() => if changed.is_err() { return Ok(found) },
        }
    }
}

fn with_comments(
    c: &Connection,
    id: &PostId,
    key: Option<&str>,
) -> rusqlite::Result<Option<PostWithComments>> {
    let Some(post) = store::post(c, id)? else { return Ok(None) };
    let comments: Vec<CommentView> =
        store::comments_of(c, id)?.iter().map(|comment| comment.view(key)).collect();
    Ok(Some(PostWithComments { post: post.view(), comments }))
}

/// `post` of `GET /live`.
#[derive(Debug, Deserialize)]
struct Listen {
    post: Option<String>,
}

async fn live(
    State(api): State<Api>,
    Query(listen): Query<Listen>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
) -> ApiResult {
    let place = api.places.take(client, &headers)?;
    let post: Option<PostId> = match &listen.post {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| bad_request("post is not an id"))?),
    };
    let after: Option<Sequence> = match headers.get("last-event-id").map(HeaderValue::to_str) {
        None => None,
        Some(Ok(text)) => Some(text.parse().map_err(|_| bad_request("invalid Last-Event-ID"))?),
        Some(Err(_)) => return Err(bad_request("invalid Last-Event-ID")),
    };
    let changes = with_heartbeat(api.live.listen(after, post).await?, SseEvent::default().comment(""));
    let changes = changes.take_until(api.stopping.clone().cancelled_owned()).inspect(move |_| {
        let _held = &place;
    });
    let mut response = Sse::new(changes.map(Ok::<_, Infallible>)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

async fn read_model(State(api): State<Api>) -> ApiResult {
    let text = api.store.read(store::dump).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}
