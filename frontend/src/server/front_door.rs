//! The front door of one machine: forwards the public routes of the services.
//!
//! Which path goes where stands in [`shared::routes`]. Bodies stream through in both directions, answers are not
//! changed, and when the client leaves, the service is told by a closed connection.

use super::caller::{introduce, strip_hop_by_hop};
use super::services::innermost;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::StreamExt;
use http::{HeaderMap, header};
use kit::web::{Answer, Failure};
use reqwest::Client;
use shared::routes::{self, PUBLIC_ROUTES, PathMatch, PublicRoute};
use shared::{ProblemKind, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long connecting to a service may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a service may take to begin its answer. (How long a slow reader takes for it is the reader's own
/// affair, within the server's limit for one who stops reading.)
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// The most streams at once: half of the connections, so that pages always find one.
const MAX_STREAMS: usize = 2_048;
/// Shorter than the services keep an idle connection, so that none is used that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(3);

/// The places for streams.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_STREAMS))
}

/// The client for every request to a service.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}

/// Forwards requests.
#[derive(Debug, Clone)]
pub(super) struct FrontDoor {
    /// Sends them.
    pub client: Client,
    /// Where each service is.
    pub services: Arc<BTreeMap<ServiceName, String>>,
    /// Ends the streams.
    pub stopping: CancellationToken,
    /// The places for streams.
    pub streams: Arc<Semaphore>,
}

/// The forwarded routes. (Axum's own patterns give the metrics their labels; the table decides.)
pub(super) fn router(door: FrontDoor) -> Router {
    let forwarded = PUBLIC_ROUTES.iter().filter(|route| route.service != ServiceName::Frontend);
    let patterns: BTreeSet<String> = forwarded.flat_map(patterns).collect();
    let add = |router: Router<FrontDoor>, pattern: String| router.route(&pattern, any(forward));
    patterns.into_iter().fold(Router::new(), add).with_state(door)
}

fn patterns(route: &PublicRoute) -> Vec<String> {
    let path = route.path;
    match route.path_match {
        PathMatch::Exact => vec![path.to_owned()],
        PathMatch::Prefix => vec![path.to_owned(), format!("{path}/"), format!("{path}/{{*rest}}")],
    }
}

/// Refuses every path that two programs may read differently, before anything looks at it.
pub(super) async fn plain_paths_only(request: Request, next: Next) -> Response {
    match routes::find(request.uri().path()) {
        Ok(_) => next.run(request).await,
        Err(_) => Failure::new(ProblemKind::NotFound).into_response(),
    }
}

async fn forward(State(door): State<FrontDoor>, request: Request) -> Answer {
    let (mut head, body) = request.into_parts();
    let route = routes::find(head.uri.path()).map_err(|_| ProblemKind::NotFound)?;
    let base = door.services.get(&route.service).ok_or(ProblemKind::NotFound)?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());

    let place = if route.stream {
        let place = Arc::clone(&door.streams).try_acquire_owned();
        Some(place.map_err(|_| Failure::new(ProblemKind::Unavailable).retry_after(30))?)
    } else {
        None
    };
    strip_hop_by_hop(&mut head.headers);
    // Answered by this server already.
    head.headers.remove(header::EXPECT);
    introduce(&mut head.headers, &head.extensions);
    let mut request = door.client.request(head.method, format!("{base}{path}")).headers(head.headers);
    if !body.is_end_stream() {
        request = request.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let answer = tokio::time::timeout(EXCHANGE_TIMEOUT, request.send()).await;
    let answer = answer.map_err(|_| late(route.service))?;
    let answer = answer.map_err(|error| unreachable_service(route.service, &error))?;
    let (mut head, body) = http::Response::from(answer).into_parts();
    strip_hop_by_hop(&mut head.headers);
    let body = if route.stream && is_event_stream(&head.headers) {
        let stopping = door.stopping.cancelled_owned();
        let stream = Body::new(body).into_data_stream().take_until(stopping);
        // The place is held for as long as the stream is.
        Body::from_stream(stream.inspect(move |_| {
            let _held = &place;
        }))
    } else {
        Body::new(body)
    };
    Ok(Response::from_parts(head, body))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"))
}

fn unreachable_service(service: ServiceName, error: &reqwest::Error) -> Failure {
    tracing::warn!(%service, error = %innermost(error), "a request cannot be forwarded");
    if error.is_timeout() && !error.is_connect() {
        return late(service);
    }
    Failure::new(ProblemKind::Unavailable).detail(format!("the {service} service cannot be reached"))
}

fn late(service: ServiceName) -> Failure {
    Failure::new(ProblemKind::Unavailable).detail(format!("the {service} service does not answer in time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_forwarded_route_of_the_table_has_a_pattern() {
        let found: Vec<String> = PUBLIC_ROUTES.iter().flat_map(patterns).collect();
        for pattern in
            ["/posts/create", "/posts", "/posts/{*rest}", "/query/{*rest}", "/live", "/moderation/{*rest}"]
        {
            assert!(found.iter().any(|p| p == pattern), "{pattern}");
        }
    }
}
