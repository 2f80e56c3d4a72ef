//! What services take from outside, the same in every run.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::Request;
use kit::http::{Options, with_middleware};
use kit::runtime::deps::{Clock, Deps, Ids};
use kit::runtime::transport::{Exchange, Transport};
use shared::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tower::ServiceExt;
use uuid::{Builder, Uuid};

/// The time in every run, in milliseconds.
pub const NOW: i64 = 1_800_000_000_000;

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(NOW)
    }
}

/// Ids that count up.
struct Counter(AtomicU64);

impl Ids for Counter {
    fn uuid(&self) -> Uuid {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Builder::from_unix_timestamp_millis(NOW.unsigned_abs(), &random).into_uuid()
    }

    fn random(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) << 64 | 1
    }
}

/// A network that never answers: no background work disturbs what is counted.
struct Silence;

impl Transport for Silence {
    fn send(&self, _: Request<Bytes>) -> Exchange<'_> {
        Box::pin(std::future::pending())
    }
}

pub fn deps() -> Deps {
    let ids = Arc::new(Counter(AtomicU64::new(1)));
    Deps { clock: Arc::new(StoppedClock), ids, transport: Arc::new(Silence) }
}

/// The router of a service as its port has it.
pub fn served(router: Router) -> Router {
    with_middleware(router, Options::new(deps().ids))
}

/// Sends a request, reads the whole answer, and fails unless it is a 200.
pub async fn exchange(router: &Router, request: http::request::Builder, body: Bytes) {
    let request = request.header("host", "blog.example").body(Body::from(body)).expect("a request");
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("an answer").to_bytes();
    assert!(status == 200 && !body.is_empty(), "{status}: {}", String::from_utf8_lossy(&body));
}
