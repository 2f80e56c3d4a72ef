//! How fast a client may write: a token bucket for its address, and a smaller one for its author.
//!
//! The service that takes a write counts it, so that the limit holds behind the reverse proxy, behind an Ingress and
//! without either. An author's cookie can be invented, so that only the address bounds somebody who wants to flood;
//! the author's bucket keeps one writer from using up what a whole classroom has behind one address.

use super::author::AuthorToken;
use super::operator::bearer;
use super::token_buckets::{Buckets, Rate};
use super::{ApiError, ApiResult, ClientAddress, ClientKey, OperatorToken, SecurityEvent};
use crate::rt::Instant;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use shared::ProblemKind;
use std::sync::Arc;
use std::time::Duration;

/// Whether one client is kept from taking what is meant for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum RateLimits {
    /// Each client has a share of what is bounded, and a limit to how fast it may write.
    #[default]
    On,
    /// Only the bounds for all clients together hold: for benchmarks and load tests.
    Off,
}

impl RateLimits {
    /// Whether shares and rates hold.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Of one address: a classroom of a hundred behind it can write all at once, several times.
const OF_ADDRESS: Rate = Rate { per_second: 60, burst: 600 };
/// Of one author: much faster than anybody types.
const OF_AUTHOR: Rate = Rate { per_second: 6, burst: 60 };

/// Which author's share or bucket something is counted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthorKey(pub(super) u128);

/// The buckets of all clients of one service. Clones share them.
#[derive(Clone)]
pub struct WriteLimits(Arc<Inner>);

struct Inner {
    by_address: Buckets<ClientKey>,
    by_author: Buckets<AuthorKey>,
    operator: OperatorToken,
}

impl WriteLimits {
    /// Full buckets for everybody; the operator is exempt.
    pub fn new(operator: OperatorToken) -> Self {
        let (by_address, by_author) = (Buckets::new(OF_ADDRESS), Buckets::new(OF_AUTHOR));
        Self(Arc::new(Inner { by_address, by_author, operator }))
    }

    /// The same routes; whoever writes to them too fast is answered 429. Reading is not counted.
    pub fn guard(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, guard))
    }

    /// How long this client has to wait before it may write.
    fn wait(&self, request: &Request) -> Option<Duration> {
        let (Inner { by_address, by_author, operator }, headers) = (&*self.0, request.headers());
        let is_operator = |token: &str| operator.as_ref().is_some_and(|own| own.matches(token.as_bytes()));
        if request.method().is_safe() || bearer(headers).is_some_and(is_operator) {
            return None;
        }
        let address = request.extensions().get::<ClientAddress>().and_then(|client| client.key());
        let author = AuthorToken::from_headers(headers).map(|token| token.limit_key());
        let now = Instant::now();
        let of_address = address.and_then(|key| by_address.take(key, now).err());
        // A write that the address may not make does not count for the author.
        of_address.or_else(|| author.and_then(|key| by_author.take(key, now).err()))
    }
}

async fn guard(State(limits): State<WriteLimits>, request: Request, next: Next) -> ApiResult {
    let Some(wait) = limits.wait(&request) else { return Ok(next.run(request).await) };
    Err(ApiError::new(ProblemKind::TooManyRequests)
        .detail("you are writing too fast; wait a moment")
        .retry_after(wait.as_secs() + 1)
        .security_event(SecurityEvent::WriteRateExceeded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;
    use crate::runtime::secret::Secret;
    use axum::body::Body;
    use axum::routing::get;
    use http::header;
    use std::net::IpAddr;
    use tower::ServiceExt;

    const TOKEN: &str = "sixteen-bytes-or-more";

    fn routes() -> Router {
        let token = Secret::new(TOKEN).unwrap();
        WriteLimits::new(Some(token)).guard(Router::new().route("/", get(async || "ok").post(async || "ok")))
    }

    fn write(n: u8) -> http::request::Builder {
        Request::post("/").extension(ClientAddress(Some(IpAddr::from([192, 0, 2, n]))))
    }

    /// The status of the answer and its `Retry-After`.
    async fn answered(routes: &Router, request: http::request::Builder) -> (u16, Option<u64>) {
        let response = routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let retry = response.headers().get(header::RETRY_AFTER);
        if response.status() == 429 {
            let event = response.extensions().get::<SecurityEvent>().unwrap();
            assert_eq!(event.name(), "write_rate_exceeded");
        }
        (response.status().as_u16(), retry.map(|value| value.to_str().unwrap().parse().unwrap()))
    }

    /// How many of so many writes are taken.
    async fn taken(routes: &Router, count: u32, request: impl Fn() -> http::request::Builder) -> u32 {
        let mut taken = 0;
        for _ in 0..count {
            taken += u32::from(answered(routes, request()).await.0 == 200);
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_a_burst_and_then_a_rate_and_the_others_have_theirs() {
        let routes = routes();
        assert_eq!(taken(&routes, 1_000, || write(1)).await, 600);
        assert_eq!(answered(&routes, write(1)).await, (429, Some(1)));
        assert_eq!(answered(&routes, write(2)).await, (200, None), "another client is not concerned");
        let read = || write(1).method("GET");
        assert_eq!(answered(&routes, read()).await, (200, None), "reading is not counted");
        rt::sleep(Duration::from_secs(2)).await;
        assert_eq!(taken(&routes, 1_000, || write(1)).await, 120);
    }

    #[tokio::test(start_paused = true)]
    async fn an_author_has_a_smaller_bucket_wherever_the_writes_come_from() {
        let routes = routes();
        let cookie = |n: u8, author: u8| write(n).header("cookie", format!("author={author:032x}"));
        assert_eq!(taken(&routes, 50, || cookie(1, 7)).await + taken(&routes, 50, || cookie(2, 7)).await, 60);
        assert_eq!(
            answered(&routes, cookie(1, 8)).await,
            (200, None),
            "another author of the same classroom"
        );
        rt::sleep(Duration::from_secs(1)).await;
        assert_eq!(taken(&routes, 50, || cookie(3, 7)).await, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn the_operator_is_exempt_and_nobody_else() {
        let routes = routes();
        let with = |token: &str| write(1).header("authorization", format!("Bearer {token}"));
        assert_eq!(taken(&routes, 1_000, || with(TOKEN)).await, 1_000);
        assert_eq!(taken(&routes, 1_000, || with("another-token-of-16")).await, 600);
    }
}
