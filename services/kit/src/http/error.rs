//! The error of every handler.

use super::SecurityEvent;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::problem::PROBLEM_JSON;
use shared::{FieldError, Problem, ProblemKind};

/// What a handler returns.
pub type ApiResult<T = Response> = Result<T, ApiError>;

/// The `Retry-After` of errors that do not set their own, in seconds.
const RETRY_AFTER: u64 = 1;

/// An error on its way to the client: a [`Problem`] with `Retry-After` and other members where needed.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Parts {
    #[serde(flatten)]
    problem: Problem,
    #[serde(skip)]
    retry_after: Option<u64>,
    #[serde(skip)]
    security_event: Option<SecurityEvent>,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl ApiError {
    /// A problem of this kind. 429 and 503 have a `Retry-After` of one second.
    pub fn new(kind: ProblemKind) -> Self {
        Problem::new(kind).into()
    }

    /// 422 for these fields.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Problem::invalid(errors).into()
    }

    /// Adds what went wrong this time. The client reads it, so no path, SQL or secret.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.problem.detail = Some(detail.into());
        self
    }

    /// Sets `Retry-After`, in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Adds a member to the body, such as `cursor`. The members of [`Problem`] have their own methods.
    pub fn member(mut self, name: &str, value: Value) -> Self {
        self.0.members.insert(name.to_owned(), value);
        self
    }

    /// Names the security event behind this error, which the middleware logs.
    pub fn security_event(mut self, event: SecurityEvent) -> Self {
        self.0.security_event = Some(event);
        self
    }

    /// The problem that the client will read.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        let retry_after = matches!(problem.status, 429 | 503).then_some(RETRY_AFTER);
        Self(Box::new(Parts { problem, retry_after, security_event: None, members: Map::new() }))
    }
}

impl From<ProblemKind> for ApiError {
    fn from(kind: ProblemKind) -> Self {
        Self::new(kind)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = match serde_json::to_vec(&self.0) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "a problem cannot be written as JSON");
                Vec::new()
            }
        };
        let mut response = (status, body).into_response();
        if let Some(event) = self.0.security_event {
            response.extensions_mut().insert(event);
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use serde_json::json;

    async fn body(error: ApiError) -> Value {
        let bytes = to_bytes(error.into_response().into_body(), 10_000).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn the_body_is_the_problem_with_its_members() {
        let error =
            ApiError::new(ProblemKind::Conflict).detail("go on from there").member("cursor", json!("7"));
        assert_eq!(
            body(error).await,
            json!({
                "type": "/problems/conflict", "title": "Conflict", "status": 409,
                "detail": "go on from there", "cursor": "7"
            })
        );
        let invalid = ApiError::invalid(vec![FieldError::new("title", "must not be empty")]);
        assert_eq!(
            body(invalid).await["errors"],
            json!([{ "pointer": "/title", "detail": "must not be empty" }])
        );
    }

    #[test]
    fn whoever_should_come_back_is_told_when() {
        for kind in ProblemKind::ALL {
            let response = ApiError::new(kind).into_response();
            let retry = response.headers().get(header::RETRY_AFTER);
            assert_eq!(response.status().as_u16(), kind.status());
            assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
            assert_eq!(retry.is_some(), matches!(kind.status(), 429 | 503), "{kind:?}");
        }
        let later = ApiError::new(ProblemKind::Unavailable).retry_after(30).into_response();
        assert_eq!(later.headers()[header::RETRY_AFTER], "30");
    }
}
