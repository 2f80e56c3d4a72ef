//! Errors over HTTP: RFC 9457 problem details.

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The closed list of problems. Each has a stable `type`, a title and a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The body is not JSON.
    MalformedJson,
    /// A part of the request other than the body cannot be read.
    BadRequest,
    /// The signature or the token is missing or wrong.
    Unauthorized,
    /// The sender is known and may not do this.
    Forbidden,
    /// No such route, post or comment.
    NotFound,
    /// The route exists, not with this method.
    MethodNotAllowed,
    /// The body arrived too slowly.
    RequestTimeout,
    /// The request contradicts the present state.
    Conflict,
    /// The body is larger than the route takes.
    TooLarge,
    /// The body is not declared as JSON.
    NotJson,
    /// The request is for a host that this server does not answer for.
    Misdirected,
    /// The JSON is well formed, but its fields are invalid.
    Invalid,
    /// Too many requests; try again after `Retry-After`.
    TooManyRequests,
    /// A fault of the server.
    Internal,
    /// The server cannot answer at the moment; try again after `Retry-After`.
    Unavailable,
}

impl ProblemKind {
    /// In the order of their status.
    pub const ALL: [ProblemKind; 15] = [
        Self::MalformedJson,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Conflict,
        Self::TooLarge,
        Self::NotJson,
        Self::Misdirected,
        Self::Invalid,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
    ];

    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedJson => (400, "/problems/malformed-json", "The body is not JSON"),
            Self::BadRequest => (400, "/problems/bad-request", "Bad request"),
            Self::Unauthorized => (401, "/problems/unauthorized", "Unauthorized"),
            Self::Forbidden => (403, "/problems/forbidden", "Forbidden"),
            Self::NotFound => (404, "/problems/not-found", "Not found"),
            Self::MethodNotAllowed => (405, "/problems/method-not-allowed", "Method not allowed"),
            Self::RequestTimeout => (408, "/problems/request-timeout", "The request took too long"),
            Self::Conflict => (409, "/problems/conflict", "Conflict"),
            Self::TooLarge => (413, "/problems/too-large", "The body is too large"),
            Self::NotJson => (415, "/problems/not-json", "The body must be JSON"),
            Self::Misdirected => (421, "/problems/misdirected", "Misdirected request"),
            Self::Invalid => (422, "/problems/invalid", "Invalid fields"),
            Self::TooManyRequests => (429, "/problems/too-many-requests", "Too many requests"),
            Self::Internal => (500, "/problems/internal", "Internal error"),
            Self::Unavailable => (503, "/problems/unavailable", "Temporarily unavailable"),
        }
    }

    /// The status of the response, also in its body.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The `type` member: a stable relative URI.
    pub const fn uri(self) -> &'static str {
        self.row().1
    }

    /// The `title` member: a human-readable message.
    pub const fn title(self) -> &'static str {
        self.row().2
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// A JSON pointer to the field: `/title`.
    pub pointer: String,
    /// A human-readable message.
    pub detail: String,
}

impl FieldError {
    /// An error of the field `name`.
    pub fn new(name: &str, detail: impl Into<String>) -> Self {
        Self { pointer: format!("/{name}"), detail: detail.into() }
    }
}

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which problem it is: a stable relative URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// A human-readable message, the same for every problem of this type.
    pub title: String,
    /// The response's status, once more.
    pub status: u16,
    /// What went wrong this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The fields that are not valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// A problem of this kind, without details.
    pub fn new(kind: ProblemKind) -> Self {
        Self {
            kind: kind.uri().to_owned(),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: None,
            errors: Vec::new(),
        }
    }

    /// Adds what went wrong this time.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// 422 for these fields.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(ProblemKind::Invalid) }
    }

    /// The message for one field, if it is among the errors.
    pub fn error_of(&self, field: &str) -> Option<&str> {
        self.errors.iter().find(|e| e.pointer.strip_prefix('/') == Some(field)).map(|e| e.detail.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_unique_and_statuses_are_errors() {
        let uris: std::collections::HashSet<_> = ProblemKind::ALL.iter().map(|k| k.uri()).collect();
        assert_eq!(uris.len(), ProblemKind::ALL.len());
        assert!(ProblemKind::ALL.iter().all(|k| (400..600).contains(&k.status())));
    }

    #[test]
    fn a_problem_survives_its_json_and_finds_its_fields() {
        let problem = Problem::invalid(vec![FieldError::new("title", "must not be empty")]);
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            json,
            r#"{"type":"/problems/invalid","title":"Invalid fields","status":422,"errors":[{"pointer":"/title","detail":"must not be empty"}]}"#
        );
        let back: Problem = serde_json::from_str(&json).unwrap();
        assert_eq!(back, problem);
        assert_eq!(back.error_of("title"), Some("must not be empty"));
        assert_eq!(back.error_of("body"), None);
    }
}
