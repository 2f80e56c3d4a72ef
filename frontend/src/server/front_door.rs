//! Forwards the public routes of the services, where no ingress does.
//!
//! [`shared::routes`] says which path belongs to which service. Bodies are streamed in both directions, and answers are
//! not changed (but for compression, which the layer around it adds). When a client disconnects, the connection to the service is closed.

use super::caller::{add_origin, strip_hop_by_hop};
use super::gzip::Uncompressed;
use super::headers::HttpsOnly;
use super::seen::{Minimum, Seen, is_behind, sequence_of};
use super::services::root_cause;
use super::shared_answers::{SharedAnswers, key_of};
use super::upstream::{Answer, Upstream, UpstreamError};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::StreamExt;
use http::{HeaderMap, header};
use kit::http::{ApiError, ApiResult, BodyError};
use kit::rt;
use shared::routes::{self, PUBLIC_ROUTES, PathMatch, PublicRoute};
use shared::{ProblemKind, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Until a service begins its answer. (For the rest the server's limits for slow readers hold.)
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Half of the connections, so that streams never use up those for pages.
const MAX_STREAMS: usize = 2_048;

#[derive(Debug, Clone)]
pub(super) struct FrontDoor {
    services: Arc<BTreeMap<ServiceName, Upstream>>,
    stopping: CancellationToken,
    streams: Arc<Semaphore>,
    answer_timeout: Duration,
    shared_answers: SharedAnswers,
    https: HttpsOnly,
}

impl FrontDoor {
    /// Forwards to these services. Streams end when `stopping` is cancelled.
    pub(super) fn new(
        services: BTreeMap<ServiceName, Upstream>,
        stopping: CancellationToken,
        https: HttpsOnly,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        let (answer_timeout, shared_answers) = (ANSWER_TIMEOUT, SharedAnswers::default());
        Self { services: Arc::new(services), stopping, streams, answer_timeout, shared_answers, https }
    }
}

/// The table decides where a request goes; axum's patterns only label the metrics.
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

/// A middleware for what this server has itself: it refuses every path that two programs may read differently.
pub(super) async fn plain_paths_only(request: Request, next: Next) -> Response {
    match routes::find(request.uri().path()) {
        Ok(_) => next.run(request).await,
        Err(_) => ApiError::new(ProblemKind::NotFound).into_response(),
    }
}

async fn forward(State(door): State<FrontDoor>, request: Request) -> ApiResult {
    let (mut head, body) = request.into_parts();
    let route = routes::find(head.uri.path()).map_err(|_| ProblemKind::NotFound)?;
    let service = door.services.get(&route.service).ok_or(ProblemKind::NotFound)?;

    let place = if route.stream {
        let place = Arc::clone(&door.streams).try_acquire_owned();
        Some(place.map_err(|_| ApiError::new(ProblemKind::Unavailable).retry_after(30))?)
    } else {
        None
    };
    // First: a header that the client has named for removal must not count before it is removed.
    strip_hop_by_hop(&mut head.headers);
    let seen = Seen::take(&mut head.headers, door.https);
    let minimum = match route.service {
        ServiceName::Query => seen.raise_minimum(&mut head.headers)?,
        _ => Minimum::None,
    };
    let is_known = head.headers.contains_key(header::COOKIE);
    let shared = key_of(route, &head).filter(|_| body.is_end_stream());
    // This server has answered it.
    head.headers.remove(header::EXPECT);
    add_origin(&mut head.headers, &head.extensions);
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.headers_mut() = head.headers;
    let answer = async {
        match shared {
            Some(path) => door.shared_answers.answer(path, service, request, minimum).await,
            None => service.send(request).await.map(|answer| answer.map(Answer::into_body)),
        }
    };
    let answer = rt::timeout(door.answer_timeout, answer).await;
    let answer = answer.map_err(|_| late(route.service))?;
    let answer = answer.map_err(|error| not_forwarded(route.service, &error))?;
    let (mut head, body) = answer.into_parts();
    strip_hop_by_hop(&mut head.headers);
    if is_behind(head.status, &head.headers, seen.minimum().unwrap_or_default()) {
        seen.refused();
    } else if route.service == ServiceName::Query && head.status.is_success() {
        seen.saw(sequence_of(&head.headers));
    }
    seen.remember(&mut head.headers);
    if is_known {
        head.extensions.insert(Uncompressed);
    }
    let body = if route.stream && is_event_stream(&head.headers) {
        let stopping = door.stopping.cancelled_owned();
        let stream = body.into_data_stream().take_until(stopping);
        // The permit is held for as long as the stream is open.
        Body::from_stream(stream.inspect(move |_| {
            let _held = &place;
        }))
    } else {
        body
    };
    Ok(Response::from_parts(head, body))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"))
}

fn not_forwarded(service: ServiceName, error: &UpstreamError) -> ApiError {
    if let Some(error) = BodyError::among_causes(error) {
        tracing::debug!(%service, %error, "a request is not forwarded");
        // The middleware, which has cut the other bodies off, answers them itself.
        return ApiError::new(ProblemKind::BadRequest).detail("incomplete request body");
    }
    tracing::warn!(%service, error = %root_cause(error), "a request cannot be forwarded");
    ApiError::new(ProblemKind::Unavailable).detail(format!("the {service} service cannot be reached"))
}

fn late(service: ServiceName) -> ApiError {
    ApiError::new(ProblemKind::Unavailable).detail(format!("the {service} service timed out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use http::StatusCode;
    use kit::runtime::addresses::Addresses;
    use std::convert::Infallible;
    use tokio::net::TcpListener;
    use tokio::sync::Notify;
    use tower::ServiceExt;

    /// A front door with one router as every service.
    async fn door(service: Router) -> FrontDoor {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, service).await });
        let upstream = Upstream::new(Addresses::new(&base)).unwrap();
        let services = ServiceName::PEERS.map(|name| (name, upstream.clone()));
        FrontDoor::new(services.into(), CancellationToken::new(), HttpsOnly(false))
    }

    async fn ask(door: &FrontDoor, path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(door.clone()).oneshot(request);
        tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer in time").unwrap()
    }

    #[tokio::test]
    async fn streams_have_a_limit_of_their_own() {
        let stream = async || {
            let events = futures_util::stream::pending::<Result<&str, Infallible>>();
            ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events))
        };
        let service = Router::new().route("/live", get(stream)).route("/posts", get(async || "{}"));
        let mut door = door(service).await;
        assert_eq!(door.streams.available_permits(), MAX_STREAMS);
        door.streams = Arc::new(Semaphore::new(1));
        let first = ask(&door, "/live").await;
        assert_eq!(first.status(), StatusCode::OK);
        let refused = ask(&door, "/live").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "30");
        assert_eq!(ask(&door, "/posts").await.status(), StatusCode::OK, "pages are served");
        drop(first);
        assert_eq!(ask(&door, "/live").await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_service_must_begin_its_answer_in_time_but_may_take_long_to_finish() {
        let go_on = Arc::new(Notify::new());
        let slow = {
            let go_on = Arc::clone(&go_on);
            move || async move {
                Body::from_stream(futures_util::stream::once(async move {
                    go_on.notified().await;
                    Ok::<_, Infallible>("done")
                }))
            }
        };
        let service = Router::new()
            .route("/posts", get(slow))
            .route("/live", get(std::future::pending::<()>))
            .route("/posts/{id}/comments", get(std::future::pending::<()>));
        let mut door = door(service).await;
        door.answer_timeout = Duration::from_millis(500);
        let answer = ask(&door, "/posts").await;
        assert_eq!(answer.status(), StatusCode::OK);
        for silent in ["/live", "/posts/1/comments"] {
            let late = ask(&door, silent).await;
            assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE, "{silent}");
        }
        // By now more time has passed than any service has to begin an answer.
        go_on.notify_one();
        let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        assert_eq!(body, "done");
    }

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
