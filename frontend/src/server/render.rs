//! From a page to an answer: leptos_axum renders it, in a reactive owner of its own.

use super::headers::content_security_policy;
use crate::pages::{Frame, Page, document};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, once};
use http::{HeaderValue, StatusCode, header};
use kit::http::ApiError;
use leptos::nonce::use_nonce;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use shared::ProblemKind;
use std::future::ready;
use std::pin::Pin;

type Chunks = Pin<Box<dyn Stream<Item = String> + Send>>;

/// Renders a page whole. Its data is there already, so nothing is streamed: the status stands before the first byte.
pub(super) async fn render(status: StatusCode, page: Page, frame: Frame) -> Response {
    let reload_port = frame.reload_port;
    let context = move || {
        let (Some(options), Some(nonce)) = (use_context::<ResponseOptions>(), use_nonce()) else { return };
        options.set_status(status);
        if let Ok(policy) = HeaderValue::from_str(&content_security_policy(&nonce, reload_port)) {
            options.insert_header(header::CONTENT_SECURITY_POLICY, policy);
        }
    };
    // The page is made from data alone: it is told nothing of the request, however odd that is.
    let request = Request::new(Body::empty());
    let app = move || document(page, &frame);
    let (mut head, body) =
        leptos_axum::handle_response_inner(context, app, request, whole).await.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => {
            head.headers.remove(header::TRANSFER_ENCODING);
            Response::from_parts(head, Body::from(bytes))
        }
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            ApiError::new(ProblemKind::Internal).into_response()
        }
    }
}

/// The page in one piece. What could follow are scripts with the resources that were loaded while it was rendered:
/// there are none, and nothing stands behind `</html>`.
fn whole<V: IntoView + 'static>(
    app: V,
    _resources: Box<dyn FnOnce() -> Chunks + Send>,
    _out_of_order: bool,
) -> Pin<Box<dyn Future<Output = Chunks> + Send>> {
    let html = app.into_view().to_html();
    Box::pin(ready(Box::pin(once(ready(html))) as Chunks))
}
