//! A service that runs.

use crate::http_calls::{Ask, Reply, get, post};
use crate::network::Network;
use crate::sse::Sse;
use crate::wait::{LIMIT, eventually, in_time};
use crate::world::World;
use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::StreamExt;
use http::Response;
use http::header::{HOST, HeaderValue};
use kit::app::service::Service;
use kit::http::probes;
use kit::http::{Options, with_middleware};
use kit::messaging::signature::Direction;
use kit::runtime::lifecycle::Lifecycle;
use serde::Serialize;
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use shared::{Envelope, ServiceName};
use tower::ServiceExt;

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A service that runs, with the router that its port would have.
#[derive(Debug)]
pub struct Running {
    /// Who it is.
    pub name: ServiceName,
    /// Its stop signal and background tasks.
    pub lifecycle: Lifecycle,
    router: Router,
    network: Network,
}

impl Running {
    pub(crate) fn new(service: Service, network: &Network) -> Self {
        let Service { name, router, admin, readiness, hosts, trusted_proxies, lifecycle, deps } = service;
        let router =
            router.merge(probes::router(lifecycle.clone(), readiness)).merge(admin.unwrap_or_default());
        let options = Options { hosts, trusted_proxies, ..Options::new(deps.ids) };
        let router = with_middleware(router, options);
        network.connect(name, router.clone());
        lifecycle.set_listening();
        Self { name, lifecycle, router, network: network.clone() }
    }

    /// Sends a request, and reads the whole answer.
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

    /// Sends a request that is answered with a stream.
    pub async fn open(&self, ask: Ask) -> Sse {
        let (head, body) = in_time("a stream", self.answer(ask)).await.into_parts();
        assert_eq!(head.status.as_u16(), 200);
        assert_eq!(head.headers["content-type"], "text/event-stream");
        Sse::new(head.headers, body)
    }

    /// Sends a request, and gives back the body in the pieces in which it came.
    pub async fn chunks(&self, ask: Ask) -> Vec<Bytes> {
        let body = self.answer(ask).await.into_body().into_data_stream();
        in_time("a whole answer", body.map(|chunk| chunk.expect("a whole answer")).collect()).await
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

    /// Delivers events as the bus does: a batch, signed where this world has secrets.
    pub async fn deliver(&self, world: &World, events: &[Envelope]) -> Reply {
        let body = serde_json::to_vec(events).expect("JSON");
        let mut ask = post("/events").body(CLOUDEVENTS_BATCH_JSON, body);
        if world.secret(self.name).is_some() {
            ask = ask.signed(world, self.name, Direction::Deliver);
        }
        self.send(ask).await
    }

    /// Waits until `/readyz` says so.
    pub async fn becomes_ready(&self) {
        eventually("it is ready", async || (self.get("/readyz").await.status == 200).then_some(())).await;
    }

    /// Takes it off the network: nobody reaches it, though it runs, and can still send.
    pub fn cut_off(&self) {
        self.network.disconnect(self.name);
    }

    /// Puts it back.
    pub fn rejoin(&self) {
        self.network.connect(self.name, self.router.clone());
    }

    pub(crate) async fn end(self) {
        self.network.disconnect(self.name);
        self.lifecycle.stop();
        assert!(self.lifecycle.wait(LIMIT).await, "{} does not stop", self.name);
        assert_eq!(self.lifecycle.crashed(), None, "{} crashed", self.name);
    }
}
