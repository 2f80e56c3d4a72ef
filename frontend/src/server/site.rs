//! What the handlers of pages and forms share, and how they answer with a page.

use super::assets::SiteFiles;
use super::gzip::Uncompressed;
use super::markdown::Rendered;
use super::render::render;
use super::services::Services;
use super::shared_pages::SharedPages;
use crate::islands::CommentDraft;
use crate::pages::{self, Page};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use kit::runtime::deps::Deps;
use shared::views::Thread;
use shared::{CommentId, Problem};

/// Only this reader's browser may store the page, and asks again each time. With it, going back keeps the text of a
/// form.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Seconds.
const RETRY_AFTER: u64 = 2;

/// What the handlers of pages and forms share.
#[derive(Debug)]
pub(super) struct Site {
    pub services: Services,
    pub files: SiteFiles,
    pub rendered: Rendered,
    pub shared_pages: SharedPages,
    pub deps: Deps,
    pub reload_port: Option<u16>,
}

/// For pages with text that only its writer may read.
pub(super) fn for_its_reader_alone(response: &mut Response) {
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response.extensions_mut().insert(Uncompressed);
}

impl Site {
    /// An idempotency key for one submission of one form.
    pub(super) fn new_key(&self) -> String {
        self.deps.ids.uuid().to_string()
    }

    pub(super) async fn show_post(
        &self,
        status: StatusCode,
        post: Thread,
        missing: Option<CommentId>,
        draft: CommentDraft,
        problem: Option<Problem>,
    ) -> Response {
        let own = post.comments.iter().any(|comment| comment.mine) || problem.is_some();
        let body = self.rendered.body(&post.post);
        let mut response = self.show(status, pages::post(post, body, missing, draft, problem)).await;
        if own {
            for_its_reader_alone(&mut response);
        }
        response
    }

    pub(super) async fn not_found(&self) -> Response {
        self.show(StatusCode::NOT_FOUND, pages::not_found()).await
    }

    /// For when a service that the page needs is down.
    pub(super) async fn unavailable(&self, problem: &Problem) -> Response {
        tracing::debug!(status = problem.status, "a page cannot be shown");
        self.show(StatusCode::SERVICE_UNAVAILABLE, pages::unavailable()).await
    }

    pub(super) async fn show(&self, status: StatusCode, page: Page) -> Response {
        let mut response = render(status, page, self.files.assets(), self.reload_port).await;
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, PRIVATE);
        if matches!(status.as_u16(), 429 | 503) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        response
    }
}
