//! The headers of a reader's request that are forwarded to a service.

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use kit::http::{REQUEST_ID, RequestId};
use kit::runtime::trace::{TRACEPARENT, TraceContext};
use std::convert::Infallible;
use std::net::SocketAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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

/// Adds the client's address, the trace and the request id.
pub(super) fn add_origin(headers: &mut HeaderMap, extensions: &Extensions) {
    if let Some(ConnectInfo(peer)) = extensions.get::<ConnectInfo<SocketAddr>>() {
        let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<String> =
            before.map(ToOwned::to_owned).chain([peer.ip().to_canonical().to_string()]).collect();
        if let Ok(value) = HeaderValue::from_str(&all.join(", ")) {
            headers.insert(FORWARDED_FOR, value);
        }
    }
    if let Some(trace) = extensions.get::<TraceContext>() {
        headers.insert(TRACEPARENT, trace.header());
    }
    if let Some(id) = extensions.get::<RequestId>() {
        headers.insert(REQUEST_ID, id.header());
    }
}

/// An extractor: the headers that identify the reader in requests to the services.
#[derive(Debug, Clone)]
pub(super) struct Caller(HeaderMap);

impl Caller {
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let mut headers = HeaderMap::new();
        for name in [header::COOKIE, FORWARDED_FOR] {
            for value in parts.headers.get_all(&name) {
                headers.append(&name, value.clone());
            }
        }
        add_origin(&mut headers, &parts.extensions);
        Ok(Self(headers))
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

    #[test]
    fn the_peer_is_added_on_the_right() {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 5))));
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, "203.0.113.7".parse().unwrap());
        headers.append(FORWARDED_FOR, "198.51.100.2".parse().unwrap());
        add_origin(&mut headers, &extensions);
        let all: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        assert_eq!(all, ["203.0.113.7, 198.51.100.2, 10.0.0.1"]);
    }
}
