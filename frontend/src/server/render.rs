//! From a page to an answer: `leptos_axum` renders it, in a reactive owner of its own.

use super::headers::content_security_policy;
use crate::pages::{Assets, Frame, Page, document, failure_page};
use any_spawner::Executor;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{self, IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::stream::{Stream, once};
use http::{HeaderValue, StatusCode, header};
use leptos::prelude::*;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

type Chunks = Pin<Box<dyn Stream<Item = String> + Send>>;

/// A rendered page, and the policy under which a browser may show it.
pub(super) struct Html {
    pub text: String,
    pub policy: HeaderValue,
}

/// Renders a page whole: its data is already there, so nothing is streamed, and the status is known before the first
/// byte. Whatever happens while it is rendered, the answer is a page with a policy.
pub(super) async fn render(
    status: StatusCode,
    page: Page,
    assets: Assets,
    reload_port: Option<u16>,
) -> Response {
    let frame = Frame::new(assets.clone(), None);
    let (status, Html { text, policy }) = if let Some(html) = html(page, assets, reload_port).await {
        (status, html)
    } else {
        let html = Html { text: failure_page(&frame), policy: policy(&[], None) };
        (StatusCode::INTERNAL_SERVER_ERROR, html)
    };
    (status, [(header::CONTENT_SECURITY_POLICY, policy)], response::Html(text)).into_response()
}

/// Renders a page. Where it cannot be rendered, the reason is logged.
pub(super) async fn html(page: Page, assets: Assets, reload_port: Option<u16>) -> Option<Html> {
    let frame = Arc::new(Frame::new(assets, reload_port));
    let policy = policy(frame.scripts(), reload_port);
    match AssertUnwindSafe(rendered(page, frame)).catch_unwind().await {
        Ok(Ok(text)) => Some(Html { text, policy }),
        Ok(Err(error)) => {
            tracing::error!(%error, "a page cannot be rendered");
            None
        }
        // The panic hook has logged the cause. What is half rendered was dropped with its owner.
        Err(_) => None,
    }
}

fn policy(scripts: &[String], reload_port: Option<u16>) -> HeaderValue {
    HeaderValue::from_str(&content_security_policy(scripts, reload_port)).unwrap_or_else(|error| {
        // Under this one no script runs.
        tracing::error!(%error, "a page has no valid Content-Security-Policy");
        HeaderValue::from_static("default-src 'none'")
    })
}

async fn rendered(page: Page, frame: Arc<Frame>) -> Result<String, axum::Error> {
    // Leptos starts tasks while it renders. An error says that this was done before.
    let _ = Executor::init_tokio();
    // The page is made from data alone and needs nothing of the reader's request; `leptos_axum` panics where that has
    // no path.
    let request = Request::new(Body::empty());
    let app = move || document(page, &frame);
    let response = leptos_axum::handle_response_inner(|| {}, app, request, in_one_piece).await;
    let bytes = to_bytes(response.into_body(), usize::MAX).await?;
    String::from_utf8(bytes.into()).map_err(axum::Error::new)
}

/// What could follow the page are scripts with resources that were loaded while it was rendered: there are none.
fn in_one_piece<V: IntoView + 'static>(
    app: V,
    _resources: Box<dyn FnOnce() -> Chunks + Send>,
    _out_of_order: bool,
) -> Pin<Box<dyn Future<Output = Chunks> + Send>> {
    let html = app.into_view().to_html();
    Box::pin(ready(Box::pin(once(ready(html))) as Chunks))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rendered(page: Page) -> (StatusCode, String, String) {
        let assets = Assets { css: Some("/pkg/mini-blog.css".into()), script: None };
        let response = render(StatusCode::OK, page, assets, None).await;
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
        assert!(policy.starts_with("default-src 'none'; script-src 'self' "), "{policy}");
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
