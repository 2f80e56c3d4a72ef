//! A simulated network: a request goes to the router at its address, without a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Method};
use kit::runtime::transport::{Exchange, Transport, TransportError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tower::ServiceExt;

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Who is reachable, and what was sent. Clones share their state.
#[derive(Clone, Default)]
pub struct Network {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    routers: HashMap<String, Router>,
    lost: HashMap<String, usize>,
    sent: Vec<Sent>,
}

/// A request that reached a router, and the status of its answer.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The name of the receiver.
    pub to: String,
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub path: String,
    /// The headers of the request.
    pub headers: HeaderMap,
    /// The body of the request.
    pub body: Bytes,
    /// The status of the answer.
    pub status: u16,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("reachable", &self.lock().routers.keys()).finish_non_exhaustive()
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a router under `http://name`.
    pub fn connect(&self, name: impl ToString, router: Router) {
        self.lock().routers.insert(name.to_string(), router);
    }

    /// Removes a router: from now on its connections are refused.
    pub fn disconnect(&self, name: impl ToString) {
        self.lock().routers.remove(&name.to_string());
    }

    /// Loses the next answers of `name`: the request has its effect, and the sender sees a timeout.
    pub fn lose_answers(&self, name: impl ToString, count: usize) {
        self.lock().lost.insert(name.to_string(), count);
    }

    /// Removes every router: routers and network refer to each other, so that neither would ever be dropped.
    pub(crate) fn clear(&self) {
        let routers = std::mem::take(&mut self.lock().routers);
        drop(routers);
    }

    /// Every request to `name` that was answered, oldest first.
    pub fn sent_to(&self, name: impl ToString) -> Vec<Sent> {
        let name = name.to_string();
        self.lock().sent.iter().filter(|sent| sent.to == name).cloned().collect()
    }

    async fn exchange(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, TransportError> {
        let (mut head, body) = request.into_parts();
        let to = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        let router = self.lock().routers.get(&to).cloned();
        let router = router.ok_or_else(|| TransportError::Connect(format!("nobody listens at {to}")))?;
        let path = head.uri.path_and_query().map_or("/".to_owned(), ToString::to_string);
        head.uri = path.parse().map_err(|_| TransportError::Other(format!("{path} is no path")))?;
        let (method, headers) = (head.method.clone(), head.headers.clone());
        let request = http::Request::from_parts(head, Body::from(body.clone()));
        let Ok(answer) = router.oneshot(request).await;
        let (head, answer) = answer.into_parts();
        let answer =
            to_bytes(answer, MAX_ANSWER_BYTES).await.map_err(|e| TransportError::Other(e.to_string()))?;
        let status = head.status.as_u16();
        let mut inner = self.lock();
        let lost = inner.lost.get_mut(&to).is_some_and(|left| {
            let lost = *left > 0;
            *left = left.saturating_sub(1);
            lost
        });
        inner.sent.push(Sent { to, method, path, headers, body, status });
        drop(inner);
        if lost {
            return Err(TransportError::Timeout);
        }
        Ok(http::Response::from_parts(head, answer))
    }
}

impl Transport for Network {
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
        Box::pin(self.exchange(request))
    }
}
