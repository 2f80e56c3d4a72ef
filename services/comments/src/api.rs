//! Comments over HTTP.

use crate::domain::{self, Comment};
use crate::store;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use kit::http::author::AuthorToken;
use kit::http::idempotency::{self, IdempotencyKey};
use kit::http::{ApiError, ApiResult, JsonBody};
use kit::messaging::outbox;
use kit::runtime::deps::Deps;
use kit::runtime::trace::TraceContext;
use kit::store::Store;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use shared::commands::CreateComment;
use shared::events::Status;
use shared::text::PUBLIC_BYTES;
use shared::views::CommentView;
use shared::{CommentId, PostId, ProblemKind, routes};
use std::time::Duration;

/// How long a comment waits for its post to become known: a post may be a few milliseconds old.
const POST_WAIT: Duration = Duration::from_secs(1);

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where the comments are.
    pub store: Store,
    /// What they take from the world.
    pub deps: Deps,
    /// Whether readers reach the site over https.
    pub https: bool,
}

/// The routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/posts/{id}/comments", get(list).post(create).layer(DefaultBodyLimit::max(PUBLIC_BYTES)))
        .with_state(api)
}

/// What is remembered of an answer: the new comment, and which others were pending then. The rest of the answer
/// follows from these, and stays small however many comments a post has.
#[derive(Serialize, Deserialize)]
struct Remembered {
    id: CommentId,
    pending: Vec<CommentId>,
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
    let attempt = IdempotencyKey::from_headers(&headers, &request)?;
    if !post_known(&api.store, post_id.clone()).await? {
        return Err(unknown());
    }
    let path = routes::post_comments(&post_id);
    let (author, cookie) = AuthorToken::of_writer(&headers, api.deps.ids.as_ref(), api.https);
    let key = author.key();
    let id = CommentId::try_from(api.deps.ids.uuid().to_string()).map_err(|_| ProblemKind::Internal)?;
    let event_id = api.deps.ids.uuid();
    let now = api.deps.clock.now();
    let created = api.store.write(move |tx| {
        let answer = idempotency::run_once(tx, attempt.as_ref(), now, || {
            let event = domain::create(command, post_id.clone(), id.clone(), key.clone(), now);
            let others = store::of_post(tx, &post_id)?;
            store::save(tx, &Comment::created(&event))?;
            outbox::publish_from_command(tx, &event.into(), event_id, now, Some(trace.to_string()))?;
            let pending = others.into_iter().filter(|c| c.status == Status::Pending).map(|c| c.id).collect();
            let remembered = Remembered { id, pending };
            serde_json::to_string(&remembered)
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
        })?;
        answer.map(|json| as_it_was(tx, &post_id, &json, &key)).transpose()
    });
    let comments = created.await?.ok_or_else(idempotency::reused)?;
    let location = comments.last().map_or(path.clone(), |new| format!("{path}#{}", new.id));
    let mut response = (StatusCode::CREATED, [(header::LOCATION, location)], Json(comments)).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The post's comments as they were when the one remembered was created, with it as the last.
fn as_it_was(tx: &Connection, post_id: &PostId, json: &str, key: &str) -> rusqlite::Result<Vec<CommentView>> {
    let remembered: Remembered = serde_json::from_str(json).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e))
    })?;
    let mut comments = store::of_post(tx, post_id)?;
    if let Some(at) = comments.iter().position(|c| c.id == remembered.id) {
        comments.truncate(at + 1);
    }
    for comment in &mut comments {
        if comment.id == remembered.id || remembered.pending.contains(&comment.id) {
            comment.status = Status::Pending;
            comment.reason = None;
            comment.version = 1;
        }
    }
    Ok(comments
        .iter()
        .map(|c| {
            // Whoever repeats the request wrote the comment, also if the first answer's cookie was lost.
            let reader = if c.id == remembered.id { c.author_key.as_deref() } else { Some(key) };
            c.view(reader)
        })
        .collect())
}

/// Whether the post is known, or becomes so within a second.
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
    tokio::time::timeout(POST_WAIT, known).await.unwrap_or(Ok(false))
}

async fn list(
    State(api): State<Api>,
    Path(post_id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<Vec<CommentView>>> {
    // What cannot be an id names no post, and an unknown post has no comments.
    let Ok(post_id) = post_id.parse::<PostId>() else { return Ok(Json(Vec::new())) };
    let key = AuthorToken::from_headers(&headers).map(|token| token.key());
    let comments = api.store.read(move |c| store::of_post(c, &post_id)).await?;
    Ok(Json(comments.iter().map(|c| c.view(key.as_deref())).collect()))
}
