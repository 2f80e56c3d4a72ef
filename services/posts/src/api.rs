//! The HTTP API of posts.

use crate::{domain, store};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use kit::http::idempotency::{self, IdempotencyKey, Outcome};
use kit::http::{ApiError, ApiResult, Chunk, JsonBody, json_stream};
use kit::messaging::outbox::Queued;
use kit::runtime::deps::Deps;
use kit::runtime::trace::TraceContext;
use kit::store::{Guard, Store};
use shared::commands::CreatePost;
use shared::text::CREATE_POST_BYTES;
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
    let post = domain::create(command, post_id, now);
    let view = domain::view(&post);
    let trace = Some(trace.to_string());
    let queued = Queued::from_command(&post.clone().into(), api.deps.ids.uuid(), now, trace)?;
    let created = api.store.write(Guard::Key(post.id.to_string()), move |tx| {
        idempotency::run_once(tx, key.as_ref(), now, post.id.as_str(), || {
            store::insert(tx, &post)?;
            queued.put(tx)
        })
    });
    let view = match created.await? {
        Outcome::Done(()) => view,
        Outcome::Repeated(id) => {
            let wanted = id.clone();
            let found = api.store.read(move |tx| store::find(tx, &wanted)).await?;
            found.ok_or_else(|| idempotency::missing(&id))?
        }
        Outcome::KeyReused => return Err(idempotency::reused()),
    };
    let location = [(header::LOCATION, routes::query_post(&view.id))];
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

/// The course's object of all posts as of this moment, oldest first.
async fn list(State(api): State<Api>) -> ApiResult {
    json_stream(move |position| {
        let store = api.store.clone();
        async move {
            let read = store.read(move |tx| {
                let (after, up_to) = match position {
                    Some(position) => position,
                    None => (store::Position::START, store::last_number(tx)?),
                };
                let mut chunk = Chunk::object();
                store::in_order(tx, after, up_to, |at, post| {
                    chunk.member((at, up_to), post.id.as_str(), &post)
                })?;
                Ok(chunk)
            });
            read.await
        }
    })
    .await
}
