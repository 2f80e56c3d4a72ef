//! Requests and answers, as a client writes and reads them.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::problem::PROBLEM_JSON;
use shared::{Problem, ProblemKind};

/// A request, until [`Running::send`](crate::Running::send) sends it.
#[derive(Debug, Clone)]
pub struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request with any method.
pub fn request(method: Method, path: impl Into<String>) -> Ask {
    Ask { method, path: path.into(), headers: HeaderMap::new(), body: Bytes::new() }
}

/// `GET`.
pub fn get(path: impl Into<String>) -> Ask {
    request(Method::GET, path)
}

/// `POST`.
pub fn post(path: impl Into<String>) -> Ask {
    request(Method::POST, path)
}

/// `DELETE`.
pub fn delete(path: impl Into<String>) -> Ask {
    request(Method::DELETE, path)
}

impl Ask {
    /// Adds a header, beside others of the same name.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_ref()).expect("a header's value"));
        self
    }

    /// Removes a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Replaces the path.
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Sets the body and its media type.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.headers.insert(CONTENT_TYPE, content_type.parse().expect("a media type"));
        self
    }

    /// Sets a JSON body.
    pub fn json(self, body: &impl Serialize) -> Self {
        self.body("application/json", serde_json::to_vec(body).expect("JSON"))
    }

    /// Adds a token.
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), format!("Bearer {token}"))
    }

    /// Adds a cookie.
    pub fn cookie(self, cookie: &str) -> Self {
        self.header(COOKIE.as_str(), cookie)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// A header as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body, read as this type.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The JSON body of an answer that must have this status.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        self.json()
    }

    /// The problem in an answer that must be one of this kind.
    pub fn problem(&self, kind: ProblemKind) -> Problem {
        assert_eq!(
            (self.status, self.header("content-type")),
            (kind.status(), PROBLEM_JSON),
            "{}",
            self.text()
        );
        let problem: Problem = self.json();
        assert_eq!((problem.kind.as_str(), problem.status), (kind.uri(), kind.status()), "{}", self.text());
        assert_eq!(problem.title, kind.title());
        problem
    }

    /// The pointers of the fields that a 422 names.
    pub fn invalid_fields(&self) -> Vec<String> {
        self.problem(ProblemKind::Invalid).errors.into_iter().map(|e| e.pointer).collect()
    }

    /// The cookie that it sets, as a client sends it back.
    pub fn cookie(&self) -> Option<String> {
        let set = self.headers.get(SET_COOKIE)?.to_str().ok()?;
        set.split(';').next().map(str::to_owned)
    }

    /// Checks what holds for every answer of every service.
    pub(crate) fn check(&self, asked: &str) {
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{asked}");
        assert!(
            !self.header("x-request-id").is_empty() && !self.header("cache-control").is_empty(),
            "{asked}"
        );
        assert!(!self.headers.contains_key("access-control-allow-origin"), "{asked}");
        if self.status >= 400 {
            let text = self.text();
            let problem: Problem = self.json();
            assert_eq!(self.header("content-type"), PROBLEM_JSON, "{asked}");
            assert_eq!(problem.status, self.status, "{asked}");
            for leak in ["sqlite", "SELECT ", "INSERT ", ".rs:", "/src/", "panicked", "stack backtrace"] {
                assert!(!text.contains(leak), "{asked} leaks {leak}: {text}");
            }
            let waits = matches!(self.status, 429 | 503);
            assert_eq!(self.headers.contains_key("retry-after"), waits, "{asked}");
        }
    }
}
