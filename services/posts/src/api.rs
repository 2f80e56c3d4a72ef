//! The HTTP API of posts.

use crate::{domain, store};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use kit::http::idempotency::{self, IdempotencyKey};
use kit::http::{ApiError, ApiResult, JsonBody};
use kit::messaging::outbox;
use kit::runtime::deps::Deps;
use kit::runtime::trace::TraceContext;
use kit::store::Store;
use shared::commands::CreatePost;
use shared::text::CREATE_POST_BYTES;
use shared::views::PostView;
use shared::{PostId, ProblemKind, routes};

#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    pub deps: Deps,
}

pub fn router(api: Api) -> Router {
    Router::new()
        .route(routes::CREATE_POST, post(create).layer(DefaultBodyLimit::max(CREATE_POST_BYTES)))
        .route("/posts", get(list))
        .with_state(api)
}

async fn create(
    State(api): State<Api>,
    trace: TraceContext,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> ApiResult {
    let command = CreatePost::from_json(&body).map_err(ApiError::invalid)?;
    let request = serde_json::to_string(&command).unwrap_or_default();
    let key = IdempotencyKey::from_headers(&headers, &request)?;
    let id = api.deps.ids.uuid();
    let post_id = PostId::try_from(id.to_string()).map_err(|_| ApiError::new(ProblemKind::Internal))?;
    let now = api.deps.clock.now();
    let event_id = api.deps.ids.uuid();
    let created = api.store.write(move |tx| {
        idempotency::run_once(tx, key.as_ref(), now, || {
            let post = domain::create(command, post_id, now);
            store::insert(tx, &post)?;
            let view = domain::view(&post);
            outbox::publish_from_command(tx, &post.into(), event_id, now, Some(trace.to_string()))?;
            serde_json::to_string(&view).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
        })
    });
    let answer = created.await?.ok_or_else(idempotency::reused)?;
    answered(&answer)
}

/// 201 with the post and its address.
fn answered(json: &str) -> ApiResult {
    let view: PostView = serde_json::from_str(json).map_err(|error| {
        tracing::error!(%error, "a stored answer cannot be read");
        ApiError::new(ProblemKind::Internal)
    })?;
    let location = [(header::LOCATION, routes::query_post(&view.id))];
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

async fn list(State(api): State<Api>) -> ApiResult<Response> {
    let posts = api.store.read(store::all).await?;
    let by_id = kit::http::ordered_object(posts.iter().map(|post| (&post.id, post)))?;
    Ok(kit::http::json_bytes(by_id))
}
