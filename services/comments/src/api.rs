//! The HTTP API of comments.

use crate::domain::{self, Comment, StoredResponse};
use crate::store;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use kit::http::author::{AuthorToken, AuthorTokens};
use kit::http::idempotency::{self, IdempotencyKey};
use kit::http::{ApiError, ApiResult, JsonBody};
use kit::messaging::outbox;
use kit::rt;
use kit::runtime::deps::Deps;
use kit::runtime::trace::TraceContext;
use kit::store::Store;
use rusqlite::types::Type;
use shared::commands::CreateComment;
use shared::text::PUBLIC_BYTES;
use shared::views::CommentView;
use shared::{CommentId, PostId, ProblemKind, routes};
use std::time::Duration;

/// How long a request waits for its post to become known: the event may arrive some milliseconds after the post.
const POST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    pub deps: Deps,
    pub authors: AuthorTokens,
    /// Whether readers reach the site over https.
    pub https: bool,
}

pub fn router(api: Api) -> Router {
    Router::new()
        .route("/posts/{id}/comments", get(list).post(create).layer(DefaultBodyLimit::max(PUBLIC_BYTES)))
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
    if !post_known(&api.store, post_id.clone()).await? {
        return Err(unknown());
    }
    let path = routes::post_comments(&post_id);
    let presented_token = AuthorToken::of_writer(&headers, api.https);
    let id = CommentId::try_from(api.deps.ids.uuid().to_string()).map_err(|_| ProblemKind::Internal)?;
    let event_id = api.deps.ids.uuid();
    let now = api.deps.clock.now();
    let authors = api.authors;
    let created = api.store.write(move |tx| {
        let answer = idempotency::run_once(tx, key.as_ref(), now, || {
            let author = presented_token.clone().unwrap_or_else(|| authors.of_comment(id.as_str()));
            let event = domain::creation_event(command, post_id.clone(), id.clone(), author.key(), now);
            let others = store::of_post(tx, &post_id)?;
            store::save(tx, &Comment::created(&event))?;
            outbox::publish_from_command(tx, &event.into(), event_id, now, Some(trace.to_string()))?;
            serde_json::to_string(&StoredResponse::new(id.clone(), &others))
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
        })?;
        let Some(json) = answer else { return Ok(None) };
        let stored: StoredResponse = serde_json::from_str(&json)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))?;
        let comments = store::of_post(tx, &post_id)?;
        // A client that repeats its request without a cookie (a double click has cancelled the first answer) gets the
        // cookie of the first answer again, on two conditions. The author's token must follow from this comment: one
        // who had a cookie before has another. And the key must be as long as a secret: the cookie shows all pending
        // comments of its author, and nobody may get it by trying likely keys with likely texts.
        let may_get_cookie = stored.id == id || key.is_some_and(|key| key.is_long());
        let author = presented_token.or_else(|| {
            let token = authors.of_comment(stored.id.as_str());
            (may_get_cookie && domain::is_author(&comments, &stored.id, &token.key())).then_some(token)
        });
        let reader_key = author.as_ref().map(AuthorToken::key);
        Ok(Some((domain::created_response(&stored, comments, reader_key.as_deref()), author)))
    });
    let (comments, author) = created.await?.ok_or_else(idempotency::reused)?;
    let location = comments.last().map_or(path.clone(), |new| format!("{path}#{}", new.id));
    let mut response = (StatusCode::CREATED, [(header::LOCATION, location)], Json(comments)).into_response();
    if let Some(cookie) = author.and_then(|author| author.cookie_after(&headers, api.https)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Whether the post is known, or becomes known within [`POST_WAIT`].
async fn post_known(store: &Store, id: PostId) -> ApiResult<bool> {
    let mut committed = store.committed();
    let known = async {
        loop {
            committed.mark_unchanged();
            let id = id.clone();
            if store.read(move |c| store::post_exists(c, &id)).await? {
                return Ok(true);
            }
            if committed.changed().await.is_err() {
                return Ok(false);
            }
        }
    };
    rt::timeout(POST_WAIT, known).await.unwrap_or(Ok(false))
}

async fn list(
    State(api): State<Api>,
    Path(post_id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<Vec<CommentView>>> {
    // An unknown post has no comments; text that is not an id belongs to no post.
    let Ok(post_id) = post_id.parse::<PostId>() else { return Ok(Json(Vec::new())) };
    let key = AuthorToken::from_headers(&headers).map(|token| token.key());
    let comments = api.store.read(move |c| store::of_post(c, &post_id)).await?;
    Ok(Json(comments.iter().map(|c| c.view(key.as_deref())).collect()))
}
