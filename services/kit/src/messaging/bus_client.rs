//! Requests to the event bus, signed and traced.

use crate::messaging::signature::{Direction, SigningKey};
use crate::runtime::deps::Deps;
use crate::runtime::secret::Secret;
use crate::runtime::trace::{TRACEPARENT, TraceContext};
use crate::runtime::transport::TransportError;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};

/// Sends requests to one event bus as one service.
#[derive(Debug, Clone)]
pub struct BusClient {
    deps: Deps,
    base: String,
    key: Option<SigningKey>,
}

impl BusClient {
    /// A client of the bus at `base` (`http://host:port`); without a secret it does not sign.
    pub fn new(deps: Deps, base: &str, secret: Option<&Secret>) -> Self {
        let key = secret.map(|s| SigningKey::derive(s, Direction::Publish));
        Self { deps, base: base.trim_end_matches('/').to_owned(), key }
    }

    /// Posts `body` to `path`: as a child span of `trace`, or in a new trace.
    pub async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: Bytes,
        trace: Option<TraceContext>,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let ids = &*self.deps.ids;
        let trace = trace.map_or_else(|| TraceContext::new(ids), |trace| trace.child(ids));
        let mut request = http::Request::post(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, HeaderValue::from_static(content_type))
            .header(TRACEPARENT, trace.header());
        if let Some(key) = &self.key {
            let id = format!("msg_{}", ids.uuid().simple());
            for (name, value) in key.sign(&id, self.deps.clock.now(), &body) {
                request = request.header(name, value);
            }
        }
        let request = request.body(body).map_err(|e| TransportError::Other(e.to_string()))?;
        self.deps.transport.send(request).await
    }
}
