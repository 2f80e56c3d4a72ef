//! Requests to the event bus, signed and traced.

use crate::messaging::signature::{Direction, SigningKey};
use crate::runtime::addresses::Addresses;
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
    addresses: Addresses,
    key: Option<SigningKey>,
}

impl BusClient {
    /// A client of the bus at these addresses (see [`Addresses::new`]); without a secret it does not sign.
    pub fn new(deps: Deps, addresses: &str, secret: Option<&Secret>) -> Self {
        let key = secret.map(|s| SigningKey::derive(s, Direction::Publish));
        Self { deps, addresses: Addresses::new(addresses), key }
    }

    /// Posts `body` to `path`: as a child span of `trace`, or in a new trace. What could not be sent to one replica goes
    /// to the next.
    pub async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: Bytes,
        trace: Option<TraceContext>,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let ids = &*self.deps.ids;
        let trace = trace.map_or_else(|| TraceContext::new(ids), |trace| trace.child(ids));
        let mut failed = TransportError::Connect("no address".to_owned());
        for number in self.addresses.for_request() {
            let url = format!("{}{path}", self.addresses.all()[number]);
            let request = self.request(url, content_type, body.clone(), trace)?;
            match self.deps.transport.send(request).await {
                Err(error @ TransportError::Connect(_)) => {
                    self.addresses.cannot_connect(number);
                    failed = error;
                }
                exchanged => return exchanged,
            }
        }
        Err(failed)
    }

    fn request(
        &self,
        url: String,
        content_type: &'static str,
        body: Bytes,
        trace: TraceContext,
    ) -> Result<http::Request<Bytes>, TransportError> {
        let mut request = http::Request::post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static(content_type))
            .header(TRACEPARENT, trace.header());
        if let Some(key) = &self.key {
            let id = format!("msg_{}", self.deps.ids.uuid().simple());
            for (name, value) in key.sign(&id, self.deps.clock.now(), &body) {
                request = request.header(name, value);
            }
        }
        request.body(body).map_err(|e| TransportError::Other(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use test_support::ports;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A bus that answers 200, or closes after it has read a request. Counts requests.
    async fn bus(listener: TcpListener, answers: bool) -> Arc<AtomicUsize> {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        crate::rt::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes).await;
                counted.fetch_add(1, Ordering::SeqCst);
                if answers {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            }
        });
        requests
    }

    async fn publish(client: &BusClient) -> Result<http::StatusCode, TransportError> {
        client
            .post("/events", "text/plain", Bytes::from_static(b"x"), None)
            .await
            .map(|answer| answer.status())
    }

    #[tokio::test]
    async fn a_publication_goes_to_a_replica_that_can_be_reached() {
        let [one, two] = ports::free(2)[..] else { unreachable!() };
        let list = format!("http://127.0.0.1:{one},http://127.0.0.1:{two}");
        let client = BusClient::new(Deps::system().unwrap(), &list, None);
        assert!(matches!(publish(&client).await, Err(TransportError::Connect(_))));
        let listener = TcpListener::bind(("127.0.0.1", two)).await.unwrap();
        let requests = bus(listener, true).await;
        for _ in 0..10 {
            assert_eq!(publish(&client).await.unwrap(), 200);
        }
        assert_eq!(requests.load(Ordering::SeqCst), 10);
    }

    #[tokio::test]
    async fn a_publication_that_may_have_arrived_is_left_to_the_caller() {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let list = listeners
            .each_ref()
            .map(|listener| format!("http://{}", listener.local_addr().unwrap()))
            .join(",");
        let [first, second] = listeners;
        let (broken, sound) = (bus(first, false).await, bus(second, true).await);
        let client = BusClient::new(Deps::system().unwrap(), &list, None);
        assert!(matches!(publish(&client).await, Err(TransportError::Other(_))));
        assert_eq!((broken.load(Ordering::SeqCst), sound.load(Ordering::SeqCst)), (1, 0));
        assert_eq!(publish(&client).await.unwrap(), 200, "the next one goes to the next");
    }
}
