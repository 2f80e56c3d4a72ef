//! The HTTP API of comments.

use crate::domain::{self, Comment};
use crate::store;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kit::http::author::{AuthorToken, AuthorTokens};
use kit::http::idempotency::{self, IdempotencyKey, Outcome};
use kit::http::{ApiError, ApiResult, Chunk, JsonBody, PreferReturn, json_stream};
use kit::messaging::outbox::Queued;
use kit::rt;
use kit::runtime::deps::Deps;
use kit::runtime::key_waiters::KeyWaiters;
use kit::runtime::trace::TraceContext;
use kit::store::{Durability, Guard, ReadError, SqlError, Store, WriteError};
use shared::commands::CreateComment;
use shared::text::PUBLIC_BYTES;
use shared::views::CommentView;
use shared::{CommentId, PostId, ProblemKind, Timestamp, routes};
use std::sync::Arc;
use std::time::Duration;

/// How long a request waits for its post to become known: the event may arrive some milliseconds after the post.
const POST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    pub deps: Deps,
    /// Woken when a post becomes known.
    pub waiters: KeyWaiters<PostId>,
    pub authors: AuthorTokens,
    /// Whether readers reach the site over https.
    pub https: bool,
}

pub fn router(api: Api) -> Router {
    Router::new()
        .route("/posts/{id}/comments", get(list).post(create).layer(DefaultBodyLimit::max(PUBLIC_BYTES)))
        .route("/posts/{id}/comments/{comment}", get(one))
        .with_state(api)
}

async fn create(
    State(api): State<Api>,
    Path(post_id): Path<String>,
    trace: TraceContext,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> ApiResult {
    let command = CreateComment::from_json(&body).map_err(ApiError::invalid)?;
    let unknown = || ApiError::new(ProblemKind::NotFound).detail("there is no such post");
    let post_id: PostId = post_id.parse().map_err(|_| unknown())?;
    let request = serde_json::to_string(&(&post_id, &command)).unwrap_or_default();
    let key = IdempotencyKey::from_headers(&headers, &request)?;
    let presented_token = AuthorToken::of_writer(&headers, api.https);
    let id = CommentId::try_from(api.deps.ids.uuid().to_string()).map_err(|_| ProblemKind::Internal)?;
    let author = presented_token.clone().unwrap_or_else(|| api.authors.of_comment(id.as_str()));
    let key_is_long = key.as_ref().is_some_and(IdempotencyKey::is_long);
    let (now, event_id) = (api.deps.clock.now(), api.deps.ids.uuid());
    let event = domain::creation_event(command, post_id.clone(), id, author.key(), now);
    let comment = Comment::created(&event);
    let event = Queued::from_command(&event.into(), event_id, now, Some(trace.to_string()))?;
    let new = Arc::new(NewComment { comment, event, now, key });
    let mut stored = store_in_post(&api.store, Arc::clone(&new)).await?;
    if stored.is_none() && post_becomes_known(&api, &post_id).await? {
        stored = store_in_post(&api.store, Arc::clone(&new)).await?;
    }
    let (is_new, (place, comment)) = match stored.ok_or_else(unknown)? {
        Outcome::Done(place) => (true, (place, new.comment.clone())),
        Outcome::Repeated(id) => {
            let found = find(&api.store, &id).await?;
            (false, found.ok_or_else(|| idempotency::missing(&id))?)
        }
        Outcome::KeyReused => return Err(idempotency::reused()),
    };
    // A client that repeats its request without a cookie (a double click has cancelled the first answer) gets the
    // cookie of the first answer again, on two conditions. The author's token must follow from this comment: one
    // who had a cookie before has another. And the key must be as long as a secret: the cookie shows all pending
    // comments of its author, and nobody may get it by trying likely keys with likely texts.
    let may_get_cookie = is_new || key_is_long;
    let author = presented_token.or_else(|| {
        let token = api.authors.of_comment(comment.id.as_str());
        (may_get_cookie && comment.author_key == Some(token.key())).then_some(token)
    });
    let location = format!("{}#{}", routes::post_comments(&post_id), comment.id);
    let location = HeaderValue::try_from(location).map_err(|_| ProblemKind::Internal)?;
    let cookie = author.as_ref().and_then(|author| author.cookie_after(&headers, api.https));
    let preference = PreferReturn::from_headers(&headers);
    let mut response = if preference == Some(PreferReturn::Minimal) {
        Json(comment.view_as_created()).into_response()
    } else {
        let reader_key = author.as_ref().map(AuthorToken::key);
        let new = comment.id.clone();
        let view = move |comment: Comment| {
            if comment.id == new { comment.view_as_created() } else { comment.view(reader_key.as_deref()) }
        };
        // The comment is stored, whatever becomes of the read: an error would make clients send it again.
        let thread = thread(api.store, post_id, Some(place), view).await;
        thread.unwrap_or_else(|_| Json([comment.view_as_created()]).into_response())
    };
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(header::LOCATION, location);
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok((preference, response).into_response())
}

/// A comment to be stored, with its event.
#[derive(Debug)]
struct NewComment {
    comment: Comment,
    event: Queued,
    now: Timestamp,
    key: Option<IdempotencyKey>,
}

/// Stores a comment if its post is known; returns its place.
async fn store_in_post(
    store: &Store,
    new: Arc<NewComment>,
) -> Result<Option<Outcome<i64>>, WriteError<SqlError>> {
    let post = Guard::Key(new.comment.post_id.to_string());
    let write = store.write_by(post, move |tx| {
        let NewComment { comment, event, now, key } = &*new;
        // In the write itself: a read before it would cost each comment a turn of its own.
        if !store::post_exists(tx, &comment.post_id)? {
            return Ok((None, Durability::Lazy));
        }
        let stored = idempotency::run_once(tx, key.as_ref(), *now, comment.id.as_str(), || {
            let place = store::insert(tx, comment)?;
            event.put(tx)?;
            Ok(place)
        });
        Ok((Some(stored?), Durability::Now))
    });
    write.await
}

async fn find(store: &Store, id: &str) -> ApiResult<Option<(i64, Comment)>> {
    let Ok(id) = id.parse::<CommentId>() else { return Ok(None) };
    Ok(store.read(move |tx| store::find_with_place(tx, &id)).await?)
}

/// Whether the post is known by now, or becomes known within [`POST_WAIT`].
async fn post_becomes_known(api: &Api, id: &PostId) -> ApiResult<bool> {
    let known = || async {
        let id = id.clone();
        let exists = api.store.read(move |tx| store::post_exists(tx, &id)).await?;
        Ok::<_, ReadError>(exists.then_some(()))
    };
    let waiting = api.waiters.wait_for(id.clone(), known);
    Ok(rt::timeout(POST_WAIT, waiting).await.unwrap_or(Ok(None))?.is_some())
}

/// The comments of a post up to a place, in the order in which they were stored; without a place, those of this moment.
async fn thread(
    store: Store,
    post_id: PostId,
    up_to: Option<i64>,
    view: impl Fn(Comment) -> CommentView + Clone + Send + 'static,
) -> ApiResult<Response> {
    json_stream(move |position| {
        let (store, post_id, view) = (store.clone(), post_id.clone(), view.clone());
        async move {
            let read = store.read(move |tx| {
                let (after, up_to) = match (position, up_to) {
                    (Some(position), _) => position,
                    (None, Some(up_to)) => (0, up_to),
                    (None, None) => (0, store::last_place(tx, &post_id)?),
                };
                let mut chunk = Chunk::array();
                store::in_order(tx, &post_id, after, up_to, |place, comment| {
                    chunk.element((place, up_to), &view(comment))
                })?;
                Ok(chunk)
            });
            read.await
        }
    })
    .await
}

async fn list(State(api): State<Api>, Path(post_id): Path<String>, headers: HeaderMap) -> ApiResult {
    // An unknown post has no comments; text that is not an id belongs to no post.
    let Ok(post_id) = post_id.parse::<PostId>() else {
        return Ok(Json::<[CommentView; 0]>([]).into_response());
    };
    let key = AuthorToken::from_headers(&headers).map(|token| token.key());
    thread(api.store, post_id, None, move |comment| comment.view(key.as_deref())).await
}

async fn one(
    State(api): State<Api>,
    Path((post_id, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> ApiResult<Json<CommentView>> {
    let found = find(&api.store, &id).await?.filter(|(_, comment)| comment.post_id.as_str() == post_id);
    let (_, comment) =
        found.ok_or_else(|| ApiError::new(ProblemKind::NotFound).detail("there is no such comment"))?;
    let key = AuthorToken::from_headers(&headers).map(|token| token.key());
    Ok(Json(comment.view(key.as_deref())))
}
