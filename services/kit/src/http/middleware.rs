//! The middleware that every service's router gets, in one place and one order.

use super::answer_budget::{ANSWER_BUDGET, AnswerBudget, CLIENT_ANSWER_BUDGET};
use super::body_budget::{BODY_BUDGET, BodyBudget, CLIENT_BODY_BUDGET, CutOff};
use super::request_log::RequestLog;
use super::request_metrics::RequestMetrics;
use super::shares::Exceeded;
use super::{
    AllowedHosts, ApiError, ClientAddress, ClientKey, REQUEST_ID, RequestId, SecurityEvent, TrustedProxies,
};
use crate::rt;
use crate::runtime::deps::Ids;
use crate::runtime::trace::TraceContext;
use axum::Router;
use axum::body::{HttpBody, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use shared::ProblemKind;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// How long a handler may take until the head of its response.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest body of a route that does not set axum's `DefaultBodyLimit` itself.
pub const DEFAULT_BODY_LIMIT: usize = 64 * 1024;

/// The longest message of the framework that becomes the detail of a problem.
const MAX_DETAIL_BYTES: usize = 1024;

/// The routes that answer for any host: orchestrators ask by address.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// What [`with_middleware`] needs to know.
#[derive(Clone)]
pub struct Options {
    /// Where new request ids and trace ids come from.
    pub ids: Arc<dyn Ids>,
    /// How long a handler may take until the head of its response; bodies, and so streams, may take longer.
    pub request_timeout: Duration,
    /// The memory for the bodies of all requests together.
    pub body_budget: BodyBudget,
    /// The memory for the answers under way to all clients together.
    pub answer_budget: AnswerBudget,
    /// The hosts that the routes answer for; probes answer for any.
    pub hosts: AllowedHosts,
    /// How many proxies report the client's address.
    pub trusted_proxies: TrustedProxies,
}

impl Options {
    /// The defaults: any host, and no proxy.
    pub fn new(ids: Arc<dyn Ids>) -> Self {
        Self {
            ids,
            request_timeout: REQUEST_TIMEOUT,
            body_budget: BodyBudget::new(BODY_BUDGET, CLIENT_BODY_BUDGET),
            answer_budget: AnswerBudget::new(ANSWER_BUDGET, CLIENT_ANSWER_BUDGET),
            hosts: AllowedHosts::default(),
            trusted_proxies: TrustedProxies::default(),
        }
    }

    /// Without shares: one client may use up what there is for all.
    pub fn without_shares(self) -> Self {
        Self {
            body_budget: BodyBudget::new(BODY_BUDGET, BODY_BUDGET),
            answer_budget: AnswerBudget::new(ANSWER_BUDGET, ANSWER_BUDGET),
            ..self
        }
    }
}

/// Wraps all routes and the fallback, from the outside in:
///
/// 1. a trace context, a request id and the client's address, which handlers can extract;
/// 2. one log line, the metrics `http_requests_total` and `http_request_seconds`, and security events;
/// 3. headers of the response: `x-request-id`, `x-content-type-options`, `cache-control: no-store` unless set;
/// 4. a request for a foreign host, answered 421;
/// 5. problems: an error without a body (404, 405, a rejected path or query) becomes one;
/// 6. the request timeout, answered 503;
/// 7. a panic, answered 500;
/// 8. the budgets for the bodies of requests and for answers under way, answered 503 when one is used up, and 429 when
///    this client's share is;
/// 9. [`DEFAULT_BODY_LIMIT`], which a route overrides with its own `DefaultBodyLimit`.
///
/// Routes that are added afterwards have none of this.
pub fn with_middleware(router: Router, options: Options) -> Router {
    router.layer(from_fn_with_state(
        Arc::new(Middleware { options, metrics: RequestMetrics::default() }),
        handle,
    ))
}

struct Middleware {
    options: Options,
    metrics: RequestMetrics,
}

async fn handle(State(middleware): State<Arc<Middleware>>, mut request: Request, next: Next) -> Response {
    let Middleware { options, metrics } = &*middleware;
    let trace = TraceContext::from_headers(request.headers(), &*options.ids);
    let id = RequestId::from_headers(request.headers(), &trace);
    let client = ClientAddress::of(request.extensions(), request.headers(), options.trusted_proxies);
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(trace);
    request.extensions_mut().insert(client);
    let log = RequestLog::start(&request, id, trace, client);

    let mut response = if PROBES.contains(&request.uri().path()) || options.hosts.allows(&request) {
        let span = tracing::info_span!("request", request_id = %log.id, trace_id = %format_args!("{:032x}", trace.trace_id));
        run(options, request, next, client.key()).instrument(span).await
    } else {
        ApiError::new(ProblemKind::Misdirected).security_event(SecurityEvent::HostRefused).into_response()
    };
    set_headers(response.headers_mut(), &log.id);
    log.finish(&response, metrics);
    response
}

/// Runs the handler within its limits. Whatever happens, there is a response.
async fn run(options: &Options, mut request: Request, next: Next, client: Option<ClientKey>) -> Response {
    DefaultBodyLimit::max(DEFAULT_BODY_LIMIT).apply(&mut request);
    let only_reads = request.method().is_safe();
    // Held until the response begins.
    let has_body = !request.body().is_end_stream();
    let reservation = has_body.then(|| options.body_budget.reserve(client));
    let request = match &reservation {
        Some(reservation) => request.map(|body| reservation.limit(body)),
        None => request,
    };
    let response = AssertUnwindSafe(next.run(request)).catch_unwind();
    let response = match rt::timeout(options.request_timeout, response).await {
        Ok(Ok(response)) => match reservation.and_then(|reservation| reservation.cut_off()) {
            Some(reason) => return cut_off(reason).into_response(),
            None => with_problem(response).await,
        },
        // The panic hook has logged it.
        Ok(Err(_)) => return ApiError::new(ProblemKind::Internal).into_response(),
        Err(_) => {
            return ApiError::new(ProblemKind::Unavailable)
                .detail("the request took too long")
                .into_response();
        }
    };
    match options.answer_budget.admit(response, client, only_reads).await {
        Ok(response) => response,
        Err(Exceeded::Client) => ApiError::new(ProblemKind::TooManyRequests)
            .detail("you have not read many large answers yet; read them first")
            .security_event(SecurityEvent::ShareExceeded)
            .into_response(),
        Err(Exceeded::Whole) => ApiError::new(ProblemKind::Unavailable)
            .detail("too many large answers at the moment; try again")
            .into_response(),
    }
}

/// What a client reads whose body was not read to its end.
fn cut_off(reason: CutOff) -> ApiError {
    match reason {
        CutOff::OverBudget(Exceeded::Client) => ApiError::new(ProblemKind::TooManyRequests)
            .detail("you are sending too many large requests at once; finish some first")
            .security_event(SecurityEvent::ShareExceeded),
        CutOff::OverBudget(Exceeded::Whole) => {
            ApiError::new(ProblemKind::Unavailable).detail("too many large requests at the moment; try again")
        }
        CutOff::TooSlow => ApiError::new(ProblemKind::RequestTimeout).detail("the body arrived too slowly"),
    }
}

/// Turns an error that the framework answers with bare text or nothing into a problem; its headers stay.
async fn with_problem(response: Response) -> Response {
    let Some(kind) = kind_of(response.status()) else { return response };
    let media = response.headers().get(header::CONTENT_TYPE);
    let text = media.is_some_and(|media| media.as_bytes().starts_with(b"text/plain"));
    let nothing = media.is_none() && response.body().is_end_stream();
    if !text && !nothing {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let mut error = ApiError::new(kind);
    // What the framework says of a request helps its sender; what it says of this server is not for others.
    if text && head.status.is_client_error() {
        let message = to_bytes(body, MAX_DETAIL_BYTES).await.unwrap_or_default();
        if !message.is_empty() {
            error = error.detail(String::from_utf8_lossy(&message));
        }
    }
    let (problem, body) = error.into_response().into_parts();
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
    headers.insert(REQUEST_ID, id.header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
