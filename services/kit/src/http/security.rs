//! Security events: requests that were refused because of who sent them, each with a name to search and alert on.
//!
//! A handler names the event on its error; [`with_middleware`](super::with_middleware) logs it once, with the
//! client's address, under the log target `security`.

use axum::response::Response;
use http::StatusCode;

/// The log target of every security event.
pub const TARGET: &str = "security";

/// Why a request was refused, for anyone who watches the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityEvent {
    /// The signature of a publication or a delivery is missing, wrong or too old.
    SignatureRefused,
    /// A service published an event that it may not publish, or another event under a known id.
    PublicationRefused,
    /// A service registered in another service's name, or at an address that is not its own.
    SubscriptionRefused,
    /// The operator's token is missing or wrong.
    OperatorTokenRefused,
    /// The request is for a host that is not ours.
    HostRefused,
    /// Another site made a reader's browser send the request.
    CrossSiteRequest,
    /// Any other 401.
    Unauthorized,
    /// Any other 403.
    Forbidden,
    /// A client writes faster than it may.
    WriteRateExceeded,
    /// A client holds its whole share of connections, streams or memory.
    ShareExceeded,
    /// Any other 429.
    RateLimited,
}

impl SecurityEvent {
    /// The name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignatureRefused => "signature_refused",
            Self::PublicationRefused => "publication_refused",
            Self::SubscriptionRefused => "subscription_refused",
            Self::OperatorTokenRefused => "operator_token_refused",
            Self::HostRefused => "host_refused",
            Self::CrossSiteRequest => "cross_site_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::WriteRateExceeded => "write_rate_exceeded",
            Self::ShareExceeded => "share_exceeded",
            Self::RateLimited => "rate_limited",
        }
    }

    /// The event behind this response: the one that its handler named, else the one that its status means.
    pub(super) fn of(response: &Response) -> Option<Self> {
        response.extensions().get().copied().or(match response.status() {
            StatusCode::UNAUTHORIZED => Some(Self::Unauthorized),
            StatusCode::FORBIDDEN => Some(Self::Forbidden),
            StatusCode::TOO_MANY_REQUESTS => Some(Self::RateLimited),
            _ => None,
        })
    }
}
