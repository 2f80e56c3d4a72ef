//! JSON responses that are written by hand.

use super::{ApiError, ApiResult};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde::{Serialize, Serializer};
use shared::ProblemKind;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON object with its members in the order given: the course's responses are objects keyed by id, oldest
/// first.
pub fn ordered_object<K: Serialize, V: Serialize>(
    members: impl IntoIterator<Item = (K, V)>,
) -> ApiResult<Bytes> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    serializer.collect_map(members).map_err(|error| {
        tracing::error!(%error, "a response cannot be written as JSON");
        ApiError::new(ProblemKind::Internal)
    })?;
    Ok(bytes.into())
}

/// A response of bytes that are JSON already.
pub fn json_bytes(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, JSON)], bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_given_is_the_order_written() {
        let bytes = ordered_object([("b", 1), ("a", 2)]).unwrap();
        assert_eq!(&bytes[..], br#"{"b":1,"a":2}"#);
        assert_eq!(&ordered_object::<&str, i32>([]).unwrap()[..], b"{}");
    }
}
