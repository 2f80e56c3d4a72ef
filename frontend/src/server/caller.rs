//! The headers of a reader's request that are forwarded to a service.

use super::seen::Seen;
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, header};
use kit::http::{ClientAddress, REQUEST_ID, RequestId};
use kit::runtime::trace::{TRACEPARENT, TraceContext};
use shared::Sequence;
use std::convert::Infallible;

/// Headers about one connection, which are never forwarded.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes the headers about one connection: the known ones, and those that `Connection` names.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Adds the client's address (replacing what the client itself sent), the trace and the request id.
pub(super) fn add_origin(headers: &mut HeaderMap, extensions: &Extensions) {
    extensions.get().copied().unwrap_or(ClientAddress(None)).report(headers);
    if let Some(trace) = extensions.get::<TraceContext>() {
        headers.insert(TRACEPARENT, trace.header());
    }
    if let Some(id) = extensions.get::<RequestId>() {
        headers.insert(REQUEST_ID, id.header());
    }
}

/// An extractor: the headers that identify the reader in requests to the services, and what the reader has seen.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    headers: HeaderMap,
    /// Nothing where an answer is for several readers.
    seen: Option<Seen>,
}

impl Caller {
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Up to which event an answer of query has to be up to date, at least.
    pub(super) fn minimum(&self) -> Option<Sequence> {
        self.seen.as_ref().and_then(Seen::minimum)
    }

    /// Whether the reader sends no cookie, and so is nobody who has written anything.
    pub(super) fn is_anonymous(&self) -> bool {
        !self.headers.contains_key(header::COOKIE)
    }

    /// For what several readers share.
    pub(super) fn anonymous(&self) -> Self {
        Self { seen: None, ..self.without_cookies() }
    }

    /// For what is the same for all who have seen as much.
    pub(super) fn without_cookies(&self) -> Self {
        let mut headers = self.headers.clone();
        headers.remove(header::COOKIE);
        Self { headers, seen: self.seen.clone() }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let mut headers = HeaderMap::new();
        for value in parts.headers.get_all(header::COOKIE) {
            headers.append(header::COOKIE, value.clone());
        }
        add_origin(&mut headers, &parts.extensions);
        Ok(Self { headers, seen: parts.extensions.get().cloned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_about_one_connection_are_not_forwarded() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Secret"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("authorization", "Bearer x"),
            ("webhook-signature", "v1,x"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "webhook-signature"]);
    }
}
