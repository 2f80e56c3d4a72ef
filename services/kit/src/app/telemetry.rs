//! Logs and metrics of the process.
//!
//! Metrics are recorded through the `metrics` macros anywhere; labels must come from a bounded set.

use crate::app::config::LogFormat;
use crate::rt;
use crate::runtime::deps::Clock;
use crate::runtime::lifecycle::{Lifecycle, panic_text};
use axum::Router;
use axum::routing::get;
use http::header;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use shared::ServiceName;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The media type of `/metrics`.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How often histograms are compacted, so that memory does not grow while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// The upper bounds of every `*_seconds` histogram.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Starts logging to standard output (`RUST_LOG` filters, `info` by default) and recording metrics.
/// Later calls change nothing.
pub fn init(format: Option<LogFormat>) {
    let terminal = std::io::stdout().is_terminal();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer();
    let begun = match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => registry.with(layer.with_ansi(terminal).with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_span_list(false)).try_init(),
    };
    // An error means that an earlier call has set both the subscriber and the hook.
    if begun.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    recorder();
}

/// Logs and counts a panic, in whatever task or thread. Code that catches it does not log it again.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    metrics::counter!("panics_total").increment(1);
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(panic = panic_text(panic.payload()), place, "panicked");
}

/// Describes the process in its metrics, and compacts them until the stop.
pub fn start(name: ServiceName, clock: &dyn Clock, lifecycle: &Lifecycle) {
    recorder();
    let started = clock.now().unix_ms() as f64 / 1000.0;
    metrics::gauge!("process_start_time_seconds").set(started);
    metrics::gauge!("build_info", "service" => name.as_str(), "version" => env!("CARGO_PKG_VERSION"))
        .set(1.0);
    let stopping = lifecycle.stopping();
    lifecycle.spawn("metrics upkeep", async move {
        while rt::timeout(UPKEEP, stopping.cancelled()).await.is_err() {
            recorder().run_upkeep();
        }
    });
}

/// The route `/metrics`, in Prometheus' text format.
pub fn router() -> Router {
    Router::new()
        .route("/metrics", get(|| async { ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], recorder().render()) }))
}

/// The one recorder of the process.
fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .unwrap_or_default()
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder collects the metrics of this process; /metrics stays empty");
        }
        handle
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::deps::SystemClock;

    #[tokio::test]
    async fn metrics_count_panics_too_and_starting_twice_is_fine() {
        let lifecycle = Lifecycle::new();
        for _ in 0..2 {
            init(Some(LogFormat::Text));
            start(ServiceName::Query, &SystemClock, &lifecycle);
        }
        metrics::histogram!("telemetry_test_seconds").record(0.02);
        assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
        let text = recorder().render();
        for line in [
            "process_start_time_seconds 1",
            "build_info{service=\"query\"",
            "panics_total ",
            "telemetry_test_seconds_bucket{le=\"0.025\"} 1",
            "telemetry_test_seconds_bucket{le=\"0.01\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        lifecycle.stop();
        assert!(lifecycle.wait(Duration::from_secs(5)).await);
        assert_eq!(lifecycle.crashed(), None);
    }
}
