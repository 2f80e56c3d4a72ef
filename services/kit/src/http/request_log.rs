//! What remains of a request: one log line, the metrics, and a security event where it was refused for one.

use super::security::{self, SecurityEvent};
use super::{ClientAddress, RequestId};
use crate::rt::Instant;
use crate::runtime::trace::TraceContext;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::Method;

/// The longest path in a log line, in characters.
const MAX_PATH_CHARS: usize = 200;

/// A request, as far as its log line needs it once the handler has consumed it.
pub(super) struct RequestLog {
    pub(super) id: RequestId,
    pub(super) trace: TraceContext,
    client: ClientAddress,
    method: Method,
    route: Option<MatchedPath>,
    path: String,
    started: Instant,
}

impl RequestLog {
    pub(super) fn start(
        request: &Request,
        id: RequestId,
        trace: TraceContext,
        client: ClientAddress,
    ) -> Self {
        Self {
            id,
            trace,
            client,
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            path: loggable(request.uri().path()),
            started: Instant::now(),
        }
    }

    /// Logs and counts the request with its response.
    pub(super) fn finish(&self, response: &Response) {
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        self.log(route, response);
        self.measure(route, response);
    }

    /// Outside the request's span: its fields would be there twice.
    fn log(&self, route: &str, response: &Response) {
        let Self { id, client, method, path, .. } = self;
        let status = response.status().as_u16();
        let ms = self.started.elapsed().as_micros() as f64 / 1000.0;
        let trace_id = format_args!("{:032x}", self.trace.trace_id);
        // What comes by itself every few seconds would bury what somebody asked for.
        let routine = match route {
            "/livez" | "/readyz" | "/metrics" => true,
            "/subscriptions" => method == Method::POST && status == 200,
            _ => false,
        };
        if routine {
            tracing::debug!(%method, route, path, status, ms, %client, request_id = %id, %trace_id, "request");
        } else {
            tracing::info!(%method, route, path, status, ms, %client, request_id = %id, %trace_id, "request");
        }
        if let Some(event) = SecurityEvent::of(response) {
            let event = event.name();
            tracing::warn!(target: security::TARGET, event, %method, path, status, %client, request_id = %id, %trace_id, "request refused");
        }
    }

    /// Labels are bounded: known methods, the routes of the table, statuses.
    fn measure(&self, route: &str, response: &Response) {
        let (method, route) = (known(&self.method), route.to_owned());
        let status = response.status().as_str().to_owned();
        metrics::histogram!("http_request_seconds", "method" => method, "route" => route.clone())
            .record(self.started.elapsed().as_secs_f64());
        metrics::counter!("http_requests_total", "method" => method, "route" => route, "status" => status)
            .increment(1);
    }
}

/// The path for a log line: bounded, and without what a terminal could take for a command.
fn loggable(path: &str) -> String {
    path.chars().take(MAX_PATH_CHARS).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
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
