//! The HTTP layer over real TCP, with well-behaved and hostile clients.

#![allow(clippy::disallowed_methods, reason = "tests use the runtime, its clock and threads directly")]

mod answers;
mod connections;
mod operations;
mod stopping;
mod support;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query};
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt, stream};
use kit::app::ServeError;
use kit::app::config::CommonConfig;
use kit::app::service::Service;
use kit::http::server::{Limits, serve};
use kit::http::{ApiError, ApiResult, JsonBody, Options, RequestId, with_middleware};
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use kit::runtime::trace::TraceContext;
use serde_json::json;
use shared::{ProblemKind, ServiceName};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use support::Running;

fn options() -> Options {
    Options::new(Deps::system().unwrap().ids)
}

fn router() -> Router {
    Router::new()
        .route("/echo", post(async |JsonBody(body): JsonBody| axum::Json(body)))
        .route("/tiny", post(async |_: JsonBody| "ok").layer(DefaultBodyLimit::max(10)))
        .route("/number/{n}", get(async |Path(n): Path<u32>| n.to_string()))
        .route(
            "/page",
            get(async |Query(page): Query<std::collections::HashMap<String, u32>>| axum::Json(page)),
        )
        .route("/panic", get(panics))
        .route("/conflict", get(conflict))
        .route("/who", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()))
        .route("/trace", get(async |trace: TraceContext, id: RequestId| format!("{trace} {id}")))
        .route("/cached", get(async || ([("cache-control", "max-age=60")], "ok")))
}

async fn conflict() -> ApiResult<()> {
    Err(ApiError::new(ProblemKind::Conflict).member("cursor", json!("00000000000000000007")))
}

async fn panics() {
    panic!("on purpose");
}

/// Serves until the lifecycle stops, with these limits.
async fn start(router: Router, limits: Limits) -> Running<()> {
    let router = with_middleware(router, options());
    Running::start(
        move |listener, lifecycle| async move { serve(listener, router, &lifecycle, limits).await },
    )
    .await
}

async fn start_service(router: Router, lifecycle: Lifecycle) -> Running<Result<(), ServeError>> {
    let service = service(router, lifecycle.clone());
    Running::with(lifecycle, |listener, _| service.serve(listener, None)).await
}

fn service(router: Router, lifecycle: Lifecycle) -> Service {
    Service::new(ServiceName::Query, &config(), router, Deps::system().unwrap(), lifecycle)
}

fn config() -> CommonConfig {
    CommonConfig::new(ServiceName::Query)
}

/// A stream with its first item at once.
fn ticks(every: Duration) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(tokio::time::interval(every), async |mut interval| {
        interval.tick().await;
        Some(((), interval))
    })
}

fn sse(ticks: impl Stream<Item = ()> + Send + 'static) -> impl IntoResponse {
    Sse::new(ticks.map(|()| Ok::<_, Infallible>(Event::default().data("tick"))))
}
