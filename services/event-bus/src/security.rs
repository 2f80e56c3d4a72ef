//! Refusals that whoever watches for attacks wants to see: one log line each, under a name of its own. No secret and no
//! text of an event is in them.

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use std::convert::Infallible;
use std::net::SocketAddr;

/// The address of the peer of the connection, where the server knows it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(Option<SocketAddr>);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(info.map(|ConnectInfo(address)| *address)))
    }
}

impl Peer {
    /// A body that no service has signed.
    pub fn signature_refused(self, route: &'static str, reason: impl std::fmt::Display) {
        let peer = self.text();
        tracing::warn!(target: "security", event = "signature_refused", peer, route, %reason);
    }

    /// An event that its publisher may not publish so.
    pub fn publication_refused(self, service: &str, reason: impl std::fmt::Display) {
        let peer = self.text();
        tracing::warn!(target: "security", event = "publication_refused", peer, service, %reason);
    }

    /// A registration in another service's name, or of an address that is not the service's.
    pub fn subscription_refused(self, service: &str, reason: impl std::fmt::Display) {
        let peer = self.text();
        tracing::warn!(target: "security", event = "subscription_refused", peer, service, %reason);
    }

    fn text(self) -> String {
        self.0.map_or_else(|| "unknown".to_owned(), |address| address.ip().to_string())
    }
}
