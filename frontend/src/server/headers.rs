//! Headers that tell the browser what a page may do. The policy is a header, never a `<meta>`, so that it holds
//! from the first byte.

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use kit::http::{ApiError, SecurityEvent};
use sha2::{Digest, Sha256};
use shared::ProblemKind;
use tower_http::csrf::{CsrfLayer, ProtectionError};

/// The policy of a page with these scripts, which are named by their hashes: so the policy is the same for each answer with
/// the same page. (`'self'` is for the script that they import: browsers do not extend `'strict-dynamic'` from a hash to
/// imports. Nothing else of this origin is a script: answers have a type, and `nosniff`.) While `cargo leptos watch` runs the site, pages may also listen for reloads.
pub(super) fn content_security_policy(scripts: &[String], reload_port: Option<u16>) -> String {
    let hashes: String =
        scripts.iter().flat_map(|script| ["'sha256-".to_owned(), hash(script), "' ".to_owned()]).collect();
    let reload =
        reload_port.map(|port| format!(" ws://127.0.0.1:{port} ws://localhost:{port}")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self' {hashes}'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:; connect-src 'self'{reload}; font-src 'self'; form-action 'self'; base-uri 'none'; \
         object-src 'none'; frame-ancestors 'none'"
    )
}

fn hash(script: &str) -> String {
    STANDARD.encode(Sha256::digest(script))
}

/// Headers of every answer that has none of its own.
const EVERYWHERE: [(HeaderName, &str); 5] = [
    // For files and JSON: opened on its own, none of them may load or run anything.
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
    ),
    // `no-referrer` would make browsers send `Origin: null` with forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// One year of nothing but https. Subdomains are not included: this site does not know them.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Whether the site's public address is https.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpsOnly(pub bool);

/// Adds the headers of every answer.
pub(super) fn everywhere(https: HttpsOnly, mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in EVERYWHERE {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if https.0 {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}

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
    fn the_policy_lets_in_nothing_but_the_scripts_of_the_page() {
        let policy = content_security_policy(&["alert(1)".to_owned()], None);
        // echo -n 'alert(1)' | openssl dgst -sha256 -binary | base64
        assert!(
            policy.contains("script-src 'self' 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI=' "),
            "{policy}"
        );
        for loose in ["unsafe-inline", "'unsafe-eval'", "*", "http:", "ws:"] {
            assert!(!policy.contains(loose), "{loose}");
        }
        assert!(content_security_policy(&[], Some(3101)).contains("connect-src 'self' ws://127.0.0.1:3101"));
    }
}
