//! The HTTP API of moderation: the queue of comments that a person has to judge. Reachable from outside, but only with
//! the operator's token. The reason of a rejection is public.

use crate::domain::{PERSON, Verdict};
use crate::events::record_verdict;
use crate::store::{self, Held};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use kit::http::{ApiError, ApiResult, JsonBody, OperatorToken, operator_only};
use kit::runtime::deps::Deps;
use kit::store::{Guard, Store};
use shared::commands::DecideComment;
use shared::text::PUBLIC_BYTES;
use shared::{CommentId, ProblemKind};

#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    pub deps: Deps,
}

pub fn router(api: Api, operator: OperatorToken) -> Router {
    let routes = Router::new()
        .route("/moderation/queue", get(queue))
        .route("/moderation/comments/{id}", post(decide).layer(DefaultBodyLimit::max(PUBLIC_BYTES)))
        .with_state(api);
    operator_only(routes, operator)
}

async fn queue(State(api): State<Api>) -> ApiResult<Json<Vec<Held>>> {
    Ok(Json(api.store.read(store::queue).await?))
}

async fn decide(State(api): State<Api>, Path(id): Path<String>, JsonBody(body): JsonBody) -> ApiResult {
    let unknown =
        || ApiError::new(ProblemKind::NotFound).detail("no comment with this id waits for a verdict");
    let id: CommentId = id.parse().map_err(|_| unknown())?;
    let command = DecideComment::from_json(&body).map_err(ApiError::invalid)?;
    let reason = Some(command.reason).filter(|reason| !reason.is_empty());
    let verdict = Verdict { status: command.status, reason, rule: Some(PERSON.to_owned()) };
    let now = api.deps.clock.now();
    let wanted = id.clone();
    let held = api.store.read(move |tx| store::find_held(tx, &wanted)).await?.ok_or_else(unknown)?;
    let decided = api.store.write(Guard::Key(held.comment.post_id.to_string()), move |tx| {
        // Another may have decided since.
        let Some(held) = store::find_held(tx, &id)? else { return Ok(false) };
        record_verdict(tx, &held.comment, verdict.clone(), &held.envelope, now)?;
        Ok(true)
    });
    if decided.await? { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown()) }
}
