//! Moderation over HTTP: the queue of what waits for a person. For the operator alone.

use crate::domain::Verdict;
use crate::events::announce;
use crate::store::{self, Held};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use kit::consumer::{read_failure, write_failure};
use kit::deps::Deps;
use kit::store::Store;
use kit::web::{Answer, Failure, JsonBody, OperatorToken, operator_only};
use serde::Deserialize;
use shared::events::Status;
use shared::text::{Limits, PUBLIC_BYTES};
use shared::{CommentId, FieldError, ProblemKind};

/// What the writer is told.
const REASON: Limits = Limits { field: "reason", min: 0, max: 200, multiline: false };

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where the verdicts are.
    pub store: Store,
    /// What they take from the world.
    pub deps: Deps,
}

/// The routes.
pub fn router(api: Api, operator: OperatorToken) -> Router {
    let routes = Router::new()
        .route("/moderation/queue", get(queue))
        .route("/moderation/comments/{id}", post(decide).layer(DefaultBodyLimit::max(PUBLIC_BYTES)))
        .with_state(api);
    operator_only(routes, operator)
}

async fn queue(State(api): State<Api>) -> Answer<Json<Vec<Held>>> {
    api.store.read(store::queue).await.map(Json).map_err(read_failure)
}

/// A person's verdict.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decide {
    status: Status,
    #[serde(default)]
    reason: String,
}

impl Decide {
    fn verdict(self) -> Answer<Verdict> {
        if self.status == Status::Pending {
            return Err(Failure::invalid(vec![FieldError::new("status", "must be approved or rejected")]));
        }
        let reason = REASON.check(&self.reason).map_err(|e| Failure::invalid(vec![e]))?;
        let reason = Some(reason).filter(|r| !r.is_empty());
        Ok(Verdict { status: self.status, reason, rule: Some("person".to_owned()) })
    }
}

async fn decide(State(api): State<Api>, Path(id): Path<String>, JsonBody(body): JsonBody) -> Answer {
    let unknown = || Failure::new(ProblemKind::NotFound).detail("no comment with this id waits for a verdict");
    let id: CommentId = id.parse().map_err(|_| unknown())?;
    let command: Decide = serde_json::from_value(body)
        .map_err(|e| Failure::new(ProblemKind::Invalid).detail(e.to_string()))?;
    let verdict = command.verdict()?;
    let now = api.deps.clock.now();
    let decided = api.store.write(move |tx| {
        let Some(held) = store::find_held(tx, &id)? else { return Ok(false) };
        announce(tx, &held.comment, verdict, &held.envelope, now)?;
        Ok(true)
    });
    if decided.await.map_err(write_failure)? { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown()) }
}
