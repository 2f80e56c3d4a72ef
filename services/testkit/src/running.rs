//! A running service.

use crate::http_calls::{Ask, Reply, get, post};
use crate::network::Network;
use crate::sse::Sse;
use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use bytes::Bytes;
use futures_util::StreamExt;
use http::Response;
use http::header::{HOST, HeaderValue};
use kit::app::service::Service;
use kit::http::probes;
use kit::http::{Options, with_middleware};
use kit::runtime::lifecycle::Lifecycle;
use serde::Serialize;
use shared::ServiceName;
use test_support::{LIMIT, eventually, in_time};
use tower::ServiceExt;

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A running service, with the router that its port would have.
#[derive(Debug)]
pub struct Running {
    /// Which service it is.
    pub name: ServiceName,
    /// Its stop signal and background tasks.
    pub lifecycle: Lifecycle,
    /// Its name in the network, and that of its folder.
    pub(crate) host: String,
    router: Router,
    network: Network,
}

impl Running {
    pub(crate) fn new(service: Service, host: &str, network: &Network) -> Self {
        let Service {
            name,
            router,
            admin,
            readiness,
            hosts,
            trusted_proxies,
            lifecycle,
            deps,
            rate_limits: _,
        } = service;
        let router =
            router.merge(probes::router(lifecycle.clone(), readiness)).merge(admin.unwrap_or_default());
        let options = Options { hosts, trusted_proxies, ..Options::new(deps.ids) };
        let router = with_middleware(router, options);
        network.connect(host, router.clone());
        lifecycle.set_listening();
        Self { name, lifecycle, host: host.to_owned(), router, network: network.clone() }
    }

    /// What it serves, for a listener of its own.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, ask: Ask) -> Reply {
        let asked = format!("{} {} {}", self.name, ask.method, ask.path);
        let exchange = async {
            let (head, body) = self.answer(ask).await.into_parts();
            let body = to_bytes(body, MAX_ANSWER_BYTES).await.expect("a whole answer");
            Reply { status: head.status.as_u16(), headers: head.headers, body }
        };
        let reply = in_time(&asked, exchange).await;
        reply.check(&asked);
        reply
    }

    /// Sends a request whose answer is a stream of events.
    pub async fn open(&self, ask: Ask) -> Sse {
        let (head, body) = in_time("a stream", self.answer(ask)).await.into_parts();
        assert_eq!(head.status.as_u16(), 200);
        assert_eq!(head.headers["content-type"], "text/event-stream");
        Sse::new(head.headers, body)
    }

    /// Sends a request; returns the body in the pieces in which it came.
    pub async fn chunks(&self, ask: Ask) -> Vec<Bytes> {
        let body = self.stream(ask).await;
        in_time("a whole answer", body.map(|chunk| chunk.expect("a whole answer")).collect()).await
    }

    /// Sends a request; returns the body as it comes, and an error where it is cut off.
    pub async fn stream(&self, ask: Ask) -> BodyDataStream {
        self.answer(ask).await.into_body().into_data_stream()
    }

    async fn answer(&self, ask: Ask) -> Response<Body> {
        let mut request = http::Request::builder().method(ask.method).uri(ask.path);
        if let Some(headers) = request.headers_mut() {
            *headers = ask.headers;
            headers.entry(HOST).or_insert(HeaderValue::from_static(self.name.as_str()));
        }
        let request = request.body(Body::from(ask.body)).expect("a request");
        let Ok(answer) = self.router.clone().oneshot(request).await;
        answer
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(get(path)).await
    }

    /// `POST` with JSON.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Reply {
        self.send(post(path).json(body)).await
    }

    /// Waits until `/readyz` answers 200.
    pub async fn becomes_ready(&self) {
        let ready = async || (self.get("/readyz").await.status == 200).then_some(());
        eventually(LIMIT, &format!("{} is ready", self.name), ready).await;
    }

    /// Takes it off the network: it still runs and can send, and nobody can reach it.
    pub fn cut_off(&self) {
        self.network.disconnect(&self.host);
    }

    /// Puts it back on the network.
    pub fn rejoin(&self) {
        self.network.connect(&self.host, self.router.clone());
    }

    pub(crate) async fn end(self) {
        self.network.disconnect(&self.host);
        self.lifecycle.stop();
        assert!(self.lifecycle.wait(LIMIT).await, "{} does not stop", self.name);
        assert_eq!(self.lifecycle.crashed(), None, "{} crashed", self.name);
    }
}
