//! The middleware that every service's router gets, in one place and one order.

use super::body_budget::{BODY_BUDGET, BodyBudget};
use super::{AllowedHosts, ApiError, RequestId, TrustedProxies};
use crate::runtime::deps::Ids;
use crate::runtime::trace::TraceContext;
use axum::Router;
use axum::body::{HttpBody, to_bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use shared::ProblemKind;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// How long a handler may take until the head of its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest body of a route that does not set axum's `DefaultBodyLimit` itself.
pub const DEFAULT_BODY_LIMIT: usize = 64 * 1024;

/// The longest sentence of the framework that is handed on.
const MAX_DETAIL_BYTES: usize = 1024;

/// What [`finish`] needs to know.
#[derive(Clone)]
pub struct Options {
    /// Where new request ids and trace ids come from.
    pub ids: Arc<dyn Ids>,
    /// How long a handler may take until the head of its answer; bodies, and so streams, may take longer.
    pub request_timeout: Duration,
    /// Room for the bodies of all requests together.
    pub body_budget: BodyBudget,
    /// The hosts that the routes answer for; probes answer for any.
    pub hosts: AllowedHosts,
    /// Who else tells from where a request comes.
    pub trusted_proxies: TrustedProxies,
}

impl Options {
    /// The usual ones.
    pub fn new(ids: Arc<dyn Ids>) -> Self {
        Self {
            ids,
            request_timeout: REQUEST_TIMEOUT,
            body_budget: BodyBudget::new(BODY_BUDGET),
            hosts: AllowedHosts::default(),
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

/// Puts around all routes and the fallback, from the outside in:
///
/// 1. a trace context and a request id, which handlers can extract and every log line carries;
/// 2. one log line and the metrics `http_requests_total` and `http_request_seconds`;
/// 3. headers of the answer: `x-request-id`, `x-content-type-options`, `cache-control: no-store` unless set;
/// 4. problems: an error that has no body of its own (404, 405, a rejected path or query) becomes one;
/// 5. the request timeout, answered 503;
/// 6. a panic, answered 500;
/// 7. room for bodies ([`BODY_BUDGET`] for all requests together), answered 503 where there is none left;
/// 8. [`DEFAULT_BODY_LIMIT`], which a route overrides with its own `DefaultBodyLimit`.
///
/// Routes that are added afterwards have none of this.
pub fn with_middleware(router: Router, options: Options) -> Router {
    router.layer(from_fn_with_state(Arc::new(options), handle))
}

async fn handle(State(options): State<Arc<Options>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = TraceContext::from_headers(request.headers(), &*options.ids);
    let id = RequestId::from_headers(request.headers(), &trace);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let span =
        tracing::info_span!("request", request_id = %id, trace_id = %format_args!("{:032x}", trace.trace_id));
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(trace);
    DefaultBodyLimit::max(DEFAULT_BODY_LIMIT).apply(&mut request);
    // Held until the answer begins.
    let reservation = options.body_budget.reserve();
    let request = request.map(|body| reservation.of(body));

    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(options.request_timeout, answer).instrument(span).await {
        Ok(Ok(_)) if reservation.was_refused() => ApiError::new(ProblemKind::Unavailable)
            .detail("too much is being sent at the moment")
            .into_response(),
        Ok(Ok(response)) => with_problem(response).await,
        // The panic hook has logged it.
        Ok(Err(_)) => ApiError::new(ProblemKind::Internal).into_response(),
        Err(_) => ApiError::new(ProblemKind::Unavailable).detail("it took too long").into_response(),
    };
    set_headers(response.headers_mut(), &id);
    let (status, took) = (response.status(), started.elapsed());
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    log(&id, &trace, &method, route, status, took);
    measure(&method, route, status, took);
    response
}

/// An error that the framework answers with bare text or nothing becomes a problem; its headers stay.
async fn with_problem(response: Response) -> Response {
    let Some(kind) = kind_of(response.status()) else { return response };
    let media = response.headers().get(header::CONTENT_TYPE);
    let text = media.is_some_and(|media| media.as_bytes().starts_with(b"text/plain"));
    let nothing = media.is_none() && response.body().is_end_stream();
    if !text && !nothing {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let mut failure = ApiError::new(kind);
    // What the framework says of a request helps its sender; what is said of ourselves is not for others.
    if text && head.status.is_client_error() {
        let said = to_bytes(body, MAX_DETAIL_BYTES).await.unwrap_or_default();
        if !said.is_empty() {
            failure = failure.detail(String::from_utf8_lossy(&said));
        }
    }
    let (problem, body) = failure.into_response().into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.extend(problem.headers);
    Response::from_parts(head, body)
}

fn kind_of(status: StatusCode) -> Option<ProblemKind> {
    // Of the two kinds of 400 the one that says less.
    let mut kinds = ProblemKind::ALL.into_iter().rev();
    kinds.find(|kind| kind.status() == status.as_u16())
}

fn set_headers(headers: &mut HeaderMap, id: &RequestId) {
    headers.insert(super::REQUEST_ID, id.header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The one line of a request. Outside the request's span: its fields would be there twice.
fn log(
    id: &RequestId,
    trace: &TraceContext,
    method: &Method,
    route: &str,
    status: StatusCode,
    took: Duration,
) {
    let (status, ms) = (status.as_u16(), took.as_micros() as f64 / 1000.0);
    let trace_id = format_args!("{:032x}", trace.trace_id);
    // What comes by itself every few seconds would bury what somebody asked for.
    let routine = match route {
        "/livez" | "/readyz" | "/metrics" => true,
        "/subscriptions" => method == Method::POST && status == 200,
        _ => false,
    };
    if routine {
        tracing::debug!(%method, route, status, ms, request_id = %id, %trace_id, "request");
    } else {
        tracing::info!(%method, route, status, ms, request_id = %id, %trace_id, "request");
    }
}

/// Labels are bounded: known methods, the routes of the table, statuses.
fn measure(method: &Method, route: &str, status: StatusCode, took: Duration) {
    let (method, route) = (known(method), route.to_owned());
    let status = status.as_str().to_owned();
    metrics::histogram!("http_request_seconds", "method" => method, "route" => route.clone())
        .record(took.as_secs_f64());
    metrics::counter!("http_requests_total", "method" => method, "route" => route, "status" => status)
        .increment(1);
}

/// Clients may invent methods; metrics must not remember them.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
