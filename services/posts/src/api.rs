//! Posts over HTTP.

use crate::{domain, store};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use kit::consumer::{read_failure, write_failure};
use kit::deps::Deps;
use kit::idempotency::{self, Attempt};
use kit::outbox;
use kit::store::Store;
use kit::trace::TraceContext;
use kit::web::{Answer, Failure, JsonBody};
use shared::commands::CreatePost;
use shared::text::CREATE_POST_BYTES;
use shared::views::PostView;
use shared::{PostId, ProblemKind, routes};

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where the posts are.
    pub store: Store,
    /// What they take from the world.
    pub deps: Deps,
}

/// The routes.
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
) -> Answer {
    let command = CreatePost::from_json(&body).map_err(Failure::invalid)?;
    let request = serde_json::to_string(&command).unwrap_or_default();
    let attempt = Attempt::from_headers(&headers, &request)?;
    let id = api.deps.ids.uuid();
    let post_id = PostId::try_from(id.to_string()).map_err(|_| Failure::new(ProblemKind::Internal))?;
    let now = api.deps.clock.now();
    let event_id = api.deps.ids.uuid();
    let created = api.store.write(move |tx| {
        idempotency::once(tx, attempt.as_ref(), now, || {
            let post = domain::create(command, post_id, now);
            store::insert(tx, &post)?;
            let view = domain::view(&post);
            outbox::originate(tx, &post.into(), event_id, now, Some(trace.to_string()))?;
            serde_json::to_string(&view).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
        })
    });
    let answer = created.await.map_err(write_failure)?.ok_or_else(idempotency::reused)?;
    answered(&answer)
}

/// 201 with the post, and where to read it.
fn answered(json: &str) -> Answer {
    let view: PostView = serde_json::from_str(json).map_err(|error| {
        tracing::error!(%error, "a remembered answer cannot be read");
        Failure::new(ProblemKind::Internal)
    })?;
    let location = [(header::LOCATION, routes::query_post(&view.id))];
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

async fn list(State(api): State<Api>) -> Answer<Response> {
    let posts = api.store.read(store::all).await.map_err(read_failure)?;
    let by_id = kit::web::ordered_object(posts.iter().map(|post| (&post.id, post)))?;
    Ok(kit::web::json_bytes(by_id))
}
