//! Headers that tell the browser what a page may do. The policy is a header, never a `<meta>`, so that it holds
//! from the first byte.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};
use kit::http::{ApiError, SecurityEvent};
use shared::ProblemKind;
use tower_http::csrf::{CsrfLayer, ProtectionError};

/// The policy of a page. Where `cargo leptos watch` runs it, the page may also listen for reloads.
pub(super) fn content_security_policy(nonce: &str, reload_port: Option<u16>) -> String {
    let reload =
        reload_port.map(|port| format!(" ws://127.0.0.1:{port} ws://localhost:{port}")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:; connect-src 'self'{reload}; font-src 'self'; form-action 'self'; base-uri 'none'; \
         object-src 'none'; frame-ancestors 'none'"
    )
}

/// Headers of every answer, unless it has its own.
const EVERYWHERE: [(HeaderName, &str); 4] = [
    // `no-referrer` would make browsers send `Origin: null` with forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Adds them.
pub(super) async fn everywhere(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in EVERYWHERE {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What a request from another site is answered.
type Refuse = fn(ProtectionError) -> Response;

/// Refuses whatever another site makes a reader's browser send.
pub(super) fn same_origin_only() -> CsrfLayer<Refuse> {
    let refuse: Refuse = |_| {
        ApiError::new(ProblemKind::Forbidden)
            .detail("this request comes from another site")
            .security_event(SecurityEvent::CrossSiteRequest)
            .into_response()
    };
    CsrfLayer::new().with_rejection_response(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_lets_in_nothing_but_the_nonce() {
        let policy = content_security_policy("word", None);
        assert!(policy.contains("'nonce-word'"));
        for loose in ["unsafe-inline", "'unsafe-eval'", "*", "http:", "ws:"] {
            assert!(!policy.contains(loose), "{loose}");
        }
        assert!(
            content_security_policy("word", Some(3101)).contains("connect-src 'self' ws://127.0.0.1:3101")
        );
    }
}
