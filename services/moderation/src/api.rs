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
use serde_json::Value;
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

/// Reads a person's verdict: every wrong field is named at once.
fn verdict(body: &Value) -> Result<Verdict, Vec<FieldError>> {
    let Value::Object(object) = body else {
        return Err(vec![FieldError { pointer: String::new(), detail: "must be an object".to_owned() }]);
    };
    let known = |name: &str| name == "status" || name == REASON.field;
    let strangers = object.keys().filter(|name| !known(name));
    let mut errors: Vec<_> =
        strangers.map(|name| FieldError::new(&pointer_part(name), "is not a field of this request")).collect();
    let status = match object.get("status").and_then(Value::as_str).map(str::parse) {
        Some(Ok(status @ (Status::Approved | Status::Rejected))) => Some(status),
        _ => {
            errors.push(FieldError::new("status", "must be approved or rejected"));
            None
        }
    };
    let reason = match object.get(REASON.field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => REASON.check(text),
        Some(_) => Err(FieldError::new(REASON.field, "must be a text")),
    };
    match (status, reason) {
        (Some(status), Ok(reason)) if errors.is_empty() => {
            let reason = Some(reason).filter(|r| !r.is_empty());
            Ok(Verdict { status, reason, rule: Some("person".to_owned()) })
        }
        (_, reason) => {
            errors.extend(reason.err());
            Err(errors)
        }
    }
}

/// A member's name as a part of a JSON pointer, cut to a sensible length.
fn pointer_part(name: &str) -> String {
    name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")
}

async fn decide(State(api): State<Api>, Path(id): Path<String>, JsonBody(body): JsonBody) -> Answer {
    let unknown = || Failure::new(ProblemKind::NotFound).detail("no comment with this id waits for a verdict");
    let id: CommentId = id.parse().map_err(|_| unknown())?;
    let verdict = verdict(&body).map_err(Failure::invalid)?;
    let now = api.deps.clock.now();
    let decided = api.store.write(move |tx| {
        let Some(held) = store::find_held(tx, &id)? else { return Ok(false) };
        announce(tx, &held.comment, verdict, &held.envelope, now)?;
        Ok(true)
    });
    if decided.await.map_err(write_failure)? { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown()) }
}
