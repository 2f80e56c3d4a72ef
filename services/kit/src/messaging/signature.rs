//! Signatures as specified by Standard Webhooks: they prove who sent a message.
//!
//! The message id, a timestamp and the raw body are signed with HMAC-SHA256. Each service shares one secret with
//! the bus, and the signing key is derived from it per direction: a captured delivery cannot be replayed as a
//! publication, nor a publication as a delivery.

use crate::http::{ApiError, SecurityEvent};
use crate::runtime::mac::derived_key;
use crate::runtime::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use http::HeaderMap;
use http::header::HeaderValue;
use sha2::Sha256;
use shared::{ProblemKind, Timestamp};

/// The largest difference between a signature's timestamp and the current time, in seconds.
pub const TOLERANCE_SECONDS: i64 = 300;
/// The header with the id of the message.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of signing, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with one or more signatures, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a service to the bus.
    Publish,
    /// From the bus to a service.
    Deliver,
}

/// Why a signature is refused. Says nothing that would help to forge one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// A header is missing or invalid.
    #[error("webhook-id, webhook-timestamp and webhook-signature are needed")]
    Missing,
    /// The timestamp is too old or too far in the future.
    #[error("the signature is too old or from the future")]
    Stale,
    /// No signature matches.
    #[error("the signature does not match")]
    Wrong,
}

impl From<BadSignature> for ApiError {
    fn from(error: BadSignature) -> Self {
        Self::new(ProblemKind::Unauthorized)
            .detail(error.to_string())
            .security_event(SecurityEvent::SignatureRefused)
    }
}

/// The key that signs messages in one direction.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Derives the key for one direction from a service's secret.
    pub fn derive(secret: &Secret, direction: Direction) -> Self {
        let purpose: &[u8] = match direction {
            Direction::Publish => b"mini-blog/publish/v1",
            Direction::Deliver => b"mini-blog/deliver/v1",
        };
        Self(derived_key(secret.as_bytes(), purpose))
    }

    fn mac(&self, id: &str, seconds: i64, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(format!("{id}.{seconds}.")).chain_update(body)
    }

    /// The three headers that go with `body`.
    pub fn sign(&self, id: &str, now: Timestamp, body: &[u8]) -> [(&'static str, HeaderValue); 3] {
        let seconds = now.unix_seconds();
        let mut signature = String::from("v1,");
        BASE64.encode_string(self.mac(id, seconds, body).finalize().into_bytes(), &mut signature);
        let text = |t: &str| HeaderValue::from_str(t).unwrap_or(HeaderValue::from_static(""));
        [
            (ID_HEADER, text(id)),
            (TIMESTAMP_HEADER, HeaderValue::from(seconds)),
            (SIGNATURE_HEADER, text(&signature)),
        ]
    }

    /// Checks the headers against the raw `body`, before anything of it is parsed.
    pub fn verify(&self, headers: &HeaderMap, now: Timestamp, body: &[u8]) -> Result<(), BadSignature> {
        let header = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let (Some(id), Some(stamp), Some(signatures)) =
            (header(ID_HEADER), header(TIMESTAMP_HEADER), header(SIGNATURE_HEADER))
        else {
            return Err(BadSignature::Missing);
        };
        let seconds: i64 = stamp.parse().map_err(|_| BadSignature::Missing)?;
        if now.unix_seconds().abs_diff(seconds) > TOLERANCE_SECONDS.unsigned_abs() {
            return Err(BadSignature::Stale);
        }
        let mac = self.mac(id, seconds, body);
        // The header may hold several while a secret is being replaced; `verify_slice` compares in constant time.
        let matches = signatures
            .split(' ')
            .filter_map(|s| s.strip_prefix("v1,"))
            .take(4)
            .any(|s| BASE64.decode(s).is_ok_and(|bytes| mac.clone().verify_slice(&bytes).is_ok()));
        if matches { Ok(()) } else { Err(BadSignature::Wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn derived(secret: &str, direction: Direction) -> SigningKey {
        SigningKey::derive(&Secret::new(secret).unwrap(), direction)
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "another-secret-of-good-length";

    fn now() -> Timestamp {
        Timestamp::from_unix_ms(1_700_000_000_000)
    }

    fn signed(key: &SigningKey, body: &[u8]) -> HeaderMap {
        key.sign("msg_1", now(), body).into_iter().map(|(n, v)| (n.parse().unwrap(), v)).collect()
    }

    #[test]
    fn what_was_signed_is_accepted_for_five_minutes_either_way() {
        let key = derived(SECRET, Direction::Publish);
        let headers = signed(&key, b"{}");
        for ms in [0, 300_000, -300_000] {
            assert_eq!(key.verify(&headers, now().plus_ms(ms), b"{}"), Ok(()));
        }
        for ms in [301_000, -301_000] {
            assert_eq!(key.verify(&headers, now().plus_ms(ms), b"{}"), Err(BadSignature::Stale));
        }
    }

    #[test]
    fn a_delivery_cannot_be_played_back_as_a_publication() {
        let deliver = derived(SECRET, Direction::Deliver);
        let publish = derived(SECRET, Direction::Publish);
        assert_eq!(publish.verify(&signed(&deliver, b"{}"), now(), b"{}"), Err(BadSignature::Wrong));
        assert_eq!(deliver.verify(&signed(&publish, b"{}"), now(), b"{}"), Err(BadSignature::Wrong));
    }

    #[test]
    fn another_secret_body_id_or_time_does_not_match() {
        let key = derived(SECRET, Direction::Publish);
        let other = derived(OTHER, Direction::Publish);
        let headers = signed(&key, b"{}");
        assert_eq!(other.verify(&headers, now(), b"{}"), Err(BadSignature::Wrong));
        assert_eq!(key.verify(&headers, now(), b"{ }"), Err(BadSignature::Wrong));
        for (name, value) in [(ID_HEADER, "msg_2"), (TIMESTAMP_HEADER, "1700000001")] {
            let mut changed = headers.clone();
            changed.insert(name, HeaderValue::from_static(value));
            assert_eq!(key.verify(&changed, now(), b"{}"), Err(BadSignature::Wrong), "{name}");
        }
    }

    #[test]
    fn while_a_secret_is_replaced_either_signature_will_do() {
        let (old, new) = (derived(SECRET, Direction::Deliver), derived(OTHER, Direction::Deliver));
        let mut headers = signed(&old, b"x");
        let second = signed(&new, b"x");
        let both =
            [&headers[SIGNATURE_HEADER], &second[SIGNATURE_HEADER]].map(|v| v.to_str().unwrap()).join(" ");
        headers.insert(SIGNATURE_HEADER, both.parse().unwrap());
        assert_eq!(old.verify(&headers, now(), b"x"), Ok(()));
        assert_eq!(new.verify(&headers, now(), b"x"), Ok(()));
    }

    #[test]
    fn missing_headers_are_missing() {
        let key = derived(SECRET, Direction::Publish);
        for name in [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER] {
            let mut headers = signed(&key, b"");
            headers.remove(name);
            assert_eq!(key.verify(&headers, now(), b""), Err(BadSignature::Missing), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(id in "\\PC{0,20}", stamp in "[-0-9a-z]{0,22}", signature in "\\PC{0,60}") {
            let key = derived(SECRET, Direction::Publish);
            let mut headers = HeaderMap::new();
            for (name, value) in [(ID_HEADER, id), (TIMESTAMP_HEADER, stamp), (SIGNATURE_HEADER, signature)] {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(name, value);
                }
            }
            prop_assert!(key.verify(&headers, now(), b"").is_err());
        }
    }
}
