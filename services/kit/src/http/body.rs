//! Bodies, checked for type and size before anything reads them.

use super::ApiError;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use shared::ProblemKind;

/// A JSON body: 415 unless it is declared as `application/json`, 413 when it is larger than the route's
/// `DefaultBodyLimit`, 400 when it is not JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonBody(pub Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !content_type(request.headers()).eq_ignore_ascii_case("application/json") {
            return Err(ApiError::new(ProblemKind::NotJson).detail("send it as application/json"));
        }
        RawBody::from_request(request, state).await?.json().map(Self)
    }
}

/// A body as it arrived, for routes that verify a signature before they parse; 413 when it is larger than the route's
/// `DefaultBodyLimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBody {
    /// The body, byte for byte.
    pub bytes: Bytes,
    /// The media type without parameters; empty when none was sent.
    pub content_type: String,
}

/// What a body that carries events may be declared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventMedia {
    /// `application/json`: a bare event, an envelope, or an array of them.
    Json,
    /// `application/cloudevents+json`: one envelope.
    CloudEvent,
    /// `application/cloudevents-batch+json`: an array of envelopes.
    CloudEventBatch,
}

impl RawBody {
    /// Which kind of event body it is declared as; 415 for any other.
    pub fn event_media(&self) -> Result<EventMedia, ApiError> {
        match self.content_type.to_ascii_lowercase().as_str() {
            "application/json" => Ok(EventMedia::Json),
            "application/cloudevents+json" => Ok(EventMedia::CloudEvent),
            "application/cloudevents-batch+json" => Ok(EventMedia::CloudEventBatch),
            _ => Err(ApiError::new(ProblemKind::NotJson).detail(
                "send it as application/json, application/cloudevents+json or application/cloudevents-batch+json",
            )),
        }
    }

    /// The body as JSON; 400 if it is none.
    pub fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| ApiError::new(ProblemKind::MalformedJson).detail(error.to_string()))
    }
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = content_type(request.headers()).to_owned();
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self { bytes, content_type }),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ProblemKind::TooLarge.into())
            }
            // The client left, or sent broken framing.
            Err(_) => Err(ApiError::new(ProblemKind::BadRequest).detail("incomplete request body")),
        }
    }
}

/// The media type without parameters; empty where there is none.
fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::RequestExt;
    use axum::body::Body;
    use proptest::prelude::*;
    use serde_json::json;

    async fn read(content_type: Option<&str>, body: impl Into<Body>) -> Result<Value, u16> {
        let mut request = Request::post("/");
        if let Some(value) = content_type {
            request = request.header(header::CONTENT_TYPE, value);
        }
        let request = request.body(body.into()).unwrap().with_limited_body();
        request.extract::<JsonBody, _>().await.map(|body| body.0).map_err(|failure| failure.problem().status)
    }

    #[tokio::test]
    async fn only_what_is_declared_as_json_is_read() {
        for good in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;x=y",
            " application/json ",
        ] {
            assert_eq!(read(Some(good), "{\"a\":1}").await, Ok(json!({ "a": 1 })), "{good}");
        }
        for bad in [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/jsonp"),
            Some("application/x-www-form-urlencoded"),
        ] {
            assert_eq!(read(bad, "{}").await, Err(415), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_json_is_malformed() {
        let deep = "[".repeat(100_000);
        for bad in [&b""[..], b"{", b"{}{}", b"\xff", b"\"\xc3\"", b"nul", deep.as_bytes()] {
            assert_eq!(read(Some("application/json"), bad.to_vec()).await, Err(400));
        }
    }

    #[tokio::test]
    async fn the_limit_is_the_last_byte_that_is_taken() {
        let limit = 2 * 1024 * 1024;
        let json = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
        assert!(read(Some("application/json"), json(limit)).await.is_ok());
        assert_eq!(read(Some("application/json"), json(limit + 1)).await, Err(413));
    }

    #[test]
    fn event_bodies_are_told_apart() {
        let media = |text: &str| RawBody { bytes: Bytes::new(), content_type: text.to_owned() }.event_media();
        assert_eq!(media("application/json"), Ok(EventMedia::Json));
        assert_eq!(media("application/CloudEvents+json"), Ok(EventMedia::CloudEvent));
        assert_eq!(media("application/cloudevents-batch+json"), Ok(EventMedia::CloudEventBatch));
        assert_eq!(media("").unwrap_err().problem().status, 415);
        assert_eq!(media("text/json").unwrap_err().problem().status, 415);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = RawBody { bytes: bytes.into(), content_type: String::new() }.json();
        }
    }
}
