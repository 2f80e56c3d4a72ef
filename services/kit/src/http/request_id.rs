//! One id per request, in every log line and in the response.

use super::ApiError;
use crate::runtime::trace::{TraceContext, hex_digits};
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use shared::ProblemKind;
use std::fmt;

/// The header that carries it, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is accepted from a client.
const MAX_LENGTH: usize = 64;

/// The id of a request, as an extractor: the client's own if it is a plain word, else its trace's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id in the headers, else the id of the trace.
    pub fn from_headers(headers: &HeaderMap, trace: &TraceContext) -> Self {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let sane = |v: &&HeaderValue| (1..=MAX_LENGTH).contains(&v.len()) && v.as_bytes().iter().all(plain);
        headers.get(REQUEST_ID).filter(sane).cloned().map_or_else(|| Self::of(trace), Self)
    }

    fn of(trace: &TraceContext) -> Self {
        // Hexadecimal digits are always a valid header value.
        let digits = hex_digits(trace.trace_id);
        Self(HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("none")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only plain ASCII gets in.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as the header's value.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a handler extracts the request id on a router without `with_middleware`");
            ApiError::new(ProblemKind::Internal)
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TraceContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get().copied().ok_or_else(|| {
            tracing::error!("a handler extracts the trace context on a router without `with_middleware`");
            ApiError::new(ProblemKind::Internal)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        RequestId::from_headers(&headers, &TraceContext { trace_id: 0xab, parent_id: 1, flags: 1 })
            .to_string()
    }

    #[test]
    fn a_plain_word_is_kept_and_anything_else_replaced() {
        for kept in ["a", "0190e0f2-7c3f-7cc0-8b1a-000000000000", "A.b_c-1", &"x".repeat(64)] {
            assert_eq!(id(kept.as_bytes()), kept);
        }
        for replaced in [&b""[..], b"two words", b"a\"b", b"<b>", "é".as_bytes(), "x".repeat(65).as_bytes()]
        {
            assert_eq!(id(replaced), "000000000000000000000000000000ab");
        }
    }
}
