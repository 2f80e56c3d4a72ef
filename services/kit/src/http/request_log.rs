//! What remains of a request: one log line, the metrics, and a security event where it was refused for one.

use super::request_metrics::RequestMetrics;
use super::security::{self, SecurityEvent};
use super::{ClientAddress, RequestId};
use crate::rt::Instant;
use crate::runtime::trace::TraceContext;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::{Method, Uri};
use std::fmt::{self, Display, Write};

/// The longest path in a log line, in characters.
const MAX_PATH_CHARS: usize = 200;

/// A request, as far as its log line needs it once the handler has consumed it.
pub(super) struct RequestLog {
    pub(super) id: RequestId,
    pub(super) trace: TraceContext,
    client: ClientAddress,
    method: Method,
    route: Option<MatchedPath>,
    uri: Uri,
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
            uri: request.uri().clone(),
            started: Instant::now(),
        }
    }

    /// Logs and counts the request with its response.
    pub(super) fn finish(&self, response: &Response, metrics: &RequestMetrics) {
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        self.log(route, response);
        metrics.record(&self.method, route, response.status(), self.started.elapsed());
    }

    /// Outside the request's span: its fields would be there twice.
    fn log(&self, route: &str, response: &Response) {
        let Self { id, client, method, .. } = self;
        let path = Loggable(self.uri.path());
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
            tracing::debug!(%method, route, %path, status, ms, %client, request_id = %id, %trace_id, "request");
        } else {
            tracing::info!(%method, route, %path, status, ms, %client, request_id = %id, %trace_id, "request");
        }
        if let Some(event) = SecurityEvent::of(response) {
            let event = event.name();
            tracing::warn!(target: security::TARGET, event, %method, %path, status, %client, request_id = %id, %trace_id, "request refused");
        }
    }
}

/// The path for a log line: bounded, and without what a terminal could take for a command.
struct Loggable<'a>(&'a str);

impl Display for Loggable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars().take(MAX_PATH_CHARS);
        characters.try_for_each(|c| f.write_char(if c.is_ascii_graphic() { c } else { '?' }))
    }
}
