//! The signature of publications and deliveries, written from the contract and independently of the services' code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a service to the bus.
    Publish,
    /// From the bus to a service.
    Deliver,
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The three headers for a body that was signed this many seconds ago.
pub fn headers(
    secret: &str,
    direction: Direction,
    seconds_ago: i64,
    body: &[u8],
) -> [(&'static str, String); 3] {
    let purpose: &[u8] = match direction {
        Direction::Publish => b"mini-blog/publish/v1",
        Direction::Deliver => b"mini-blog/deliver/v1",
    };
    let key = hmac(secret.as_bytes(), &[purpose]);
    let (id, stamp) = ("msg_test".to_owned(), (now() - seconds_ago).to_string());
    let mac = hmac(&key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", body]);
    let signature = format!("v1,{}", STANDARD.encode(mac));
    [("webhook-id", id), ("webhook-timestamp", stamp), ("webhook-signature", signature)]
}

#[allow(clippy::disallowed_methods, reason = "a client from outside has no clock but the system's")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_secs().cast_signed()
}
