//! The metrics `http_requests_total` and `http_request_seconds`.

use http::{Method, StatusCode};
use metrics::{Counter, Histogram};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// The metrics of the requests of one router. What the recorder returned for each set of labels is kept: making the
/// labels and looking them up takes longer than recording.
#[derive(Default)]
pub(super) struct RequestMetrics {
    by_route: RwLock<HashMap<Box<str>, OfRoute>>,
}

type OfRoute = Vec<(Labels, Recorded)>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Labels {
    method: &'static str,
    status: StatusCode,
}

#[derive(Clone)]
struct Recorded {
    seconds: Histogram,
    count: Counter,
}

impl RequestMetrics {
    /// Labels are bounded: known methods, the routes of the table, statuses.
    pub(super) fn record(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let labels = Labels { method: known(method), status };
        let recorded = |recorded: &Recorded| {
            recorded.seconds.record(took);
            recorded.count.increment(1);
        };
        if self.with(route, labels, recorded).is_none() {
            let new = Recorded::new(route, labels);
            recorded(&new);
            let mut by_route = self.by_route.write().unwrap_or_else(PoisonError::into_inner);
            by_route.entry(route.into()).or_default().push((labels, new));
        }
    }

    fn with<T>(&self, route: &str, labels: Labels, then: impl Fn(&Recorded) -> T) -> Option<T> {
        let by_route = self.by_route.read().unwrap_or_else(PoisonError::into_inner);
        let mut of_route = by_route.get(route)?.iter();
        of_route.find(|(found, _)| *found == labels).map(|(_, recorded)| then(recorded))
    }
}

impl Recorded {
    fn new(route: &str, Labels { method, status }: Labels) -> Self {
        let (route, status) = (route.to_owned(), status.as_str().to_owned());
        let seconds =
            metrics::histogram!("http_request_seconds", "method" => method, "route" => route.clone());
        let count = metrics::counter!("http_requests_total", "method" => method, "route" => route, "status" => status);
        Self { seconds, count }
    }
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
