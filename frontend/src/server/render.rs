//! From a page to an answer.

use super::headers::content_security_policy;
use crate::pages::{Assets, Frame, Page, document, failure_page};
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use hydration_context::SsrSharedContext;
use leptos::nonce::Nonce;
use leptos::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Renders a page whole: its data is already there, so nothing is streamed, and the status is known before the first
/// byte. (`leptos_axum` serves for streams and router; here it would only add contexts that may be missing.)
pub(super) fn render(status: StatusCode, page: Page, assets: Assets, reload_port: Option<u16>) -> Response {
    let frame = Frame { assets, reload_port, nonce: Nonce::new().to_string() };
    // The panic hook logs the cause. What is half rendered is dropped with its owner.
    let html = catch_unwind(AssertUnwindSafe(|| html(page, &frame)));
    let (status, html) = match html {
        Ok(html) => (status, html),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, failure_page(&frame)),
    };
    let mut response = (status, Html(html)).into_response();
    match HeaderValue::from_str(&content_security_policy(&frame.nonce, reload_port)) {
        Ok(policy) => drop(response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy)),
        // Without a policy of its own the page gets that of files, under which no script runs.
        Err(error) => tracing::error!(%error, "a page has no valid Content-Security-Policy"),
    }
    response
}

fn html(page: Page, frame: &Frame) -> String {
    let owner = Owner::new_root(Some(Arc::new(SsrSharedContext::new_islands())));
    let html = owner.with(|| document(page, frame).to_html());
    owner.unset_with_forced_cleanup();
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    async fn rendered(page: Page) -> (StatusCode, String, String) {
        let assets = Assets { css: Some("/pkg/mini-blog.css".into()), script: None };
        let response = render(StatusCode::OK, page, assets, None);
        let header =
            |name| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let (kind, policy) = (header(header::CONTENT_TYPE), header(header::CONTENT_SECURITY_POLICY));
        assert_eq!(kind, "text/html; charset=utf-8");
        let status = response.status();
        let body = to_bytes(response.into_body(), 100_000).await.unwrap();
        (status, policy, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_rendered_is_a_page_that_says_so() {
        let page = Page::new("Broken", || -> &'static str { panic!("a fault in a page") });
        let (status, policy, body) = rendered(page).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
        assert!(
            body.contains("<h1>Something went wrong</h1>") && body.contains("/pkg/mini-blog.css"),
            "{body}"
        );
        assert!(!body.contains("a fault in a page"), "{body}");
        // The next page is not affected.
        let (status, _, body) = rendered(Page::new("Fine", || "fine")).await;
        assert!(status == StatusCode::OK && body.contains("fine"), "{body}");
    }
}
