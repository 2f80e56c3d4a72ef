//! What readers are shown: data first, then the status, then the page.

use super::Site;
use super::caller::Caller;
use super::render::render;
use super::services::Awaited;
use crate::islands::{CommentDraft, PostDraft};
use crate::pages::{self, Frame, Page};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kit::http::ApiError;
use serde::Deserialize;
use shared::views::PostWithComments;
use shared::{CommentId, PostId, Problem, ProblemKind};

/// Only this reader's browser may keep the page, and asks again each time. The text of the form survives the
/// back button.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// The page shows what only its writer may read.
pub(super) const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-store");
/// After how many seconds to come back when a service is down.
const RETRY_AFTER: u64 = 2;

/// `cursor` of `/`.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    cursor: Option<String>,
}

/// The newest posts, or those from a place in the list on.
pub(super) async fn home(State(site): State<Site>, Query(list): Query<List>, caller: Caller) -> Response {
    match site.services.posts(list.cursor.as_deref(), &caller).await {
        Ok(posts) => {
            let draft = PostDraft { key: site.new_key(), ..PostDraft::default() };
            site.show(StatusCode::OK, pages::home(Some(posts), list.cursor.as_deref(), draft, None)).await
        }
        // A cursor that was never given out leads nowhere.
        Err(problem) if problem.status == ProblemKind::BadRequest.status() => site.nothing_here().await,
        Err(problem) => site.trouble(&problem).await,
    }
}

/// `comment` and `new` of `/p/{id}`: what the page waits for.
#[derive(Debug, Deserialize)]
pub(super) struct Wait {
    comment: Option<String>,
    new: Option<String>,
}

/// A post with its comments.
pub(super) async fn post(
    State(site): State<Site>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
    caller: Caller,
) -> Response {
    let Ok(id) = id.parse::<PostId>() else { return site.nothing_here().await };
    let comment: Option<CommentId> = wait.comment.and_then(|text| text.parse().ok());
    let awaited = match &comment {
        Some(comment) => Awaited::Comment(comment),
        None if wait.new.is_some() => Awaited::Post,
        None => Awaited::Nothing,
    };
    match site.services.post(&id, awaited, &caller).await {
        Ok(post) => {
            let draft = CommentDraft { key: site.new_key(), ..CommentDraft::default() };
            let missing = comment.filter(|id| post.comments.iter().all(|c| c.id != *id));
            site.show_post(StatusCode::OK, post, missing, draft, None).await
        }
        Err(problem) if problem.status == ProblemKind::NotFound.status() => match awaited {
            Awaited::Post => site.show(StatusCode::SERVICE_UNAVAILABLE, pages::on_its_way(&id)).await,
            _ => site.nothing_here().await,
        },
        Err(problem) => site.trouble(&problem).await,
    }
}

/// Whatever is neither a page nor a file: a page for people, a problem for programs.
pub(super) async fn nothing_here(State(site): State<Site>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.into_iter().any(|value| value.contains("text/html")) {
        site.nothing_here().await
    } else {
        ApiError::new(ProblemKind::NotFound).into_response()
    }
}

impl Site {
    /// A key for one sending of one form.
    pub(super) fn new_key(&self) -> String {
        self.deps.ids.uuid().to_string()
    }

    /// The page of a post.
    pub(super) async fn show_post(
        &self,
        status: StatusCode,
        post: PostWithComments,
        missing: Option<CommentId>,
        draft: CommentDraft,
        problem: Option<Problem>,
    ) -> Response {
        let own = post.comments.iter().any(|comment| comment.mine) || problem.is_some();
        let body = self.rendered.body(&post.post);
        let mut response = self.show(status, pages::post(post, body, missing, draft, problem)).await;
        if own {
            response.headers_mut().insert(header::CACHE_CONTROL, NOT_KEPT);
        }
        response
    }

    /// There is no such page.
    pub(super) async fn nothing_here(&self) -> Response {
        self.show(StatusCode::NOT_FOUND, pages::not_found()).await
    }

    /// A service that the page needs is down.
    pub(super) async fn trouble(&self, problem: &Problem) -> Response {
        tracing::debug!(status = problem.status, "a page cannot be shown");
        self.show(StatusCode::SERVICE_UNAVAILABLE, pages::unavailable()).await
    }

    /// Sends a page.
    pub(super) async fn show(&self, status: StatusCode, page: Page) -> Response {
        let frame = Frame { assets: self.files.assets(), reload_port: self.reload_port };
        let mut response = render(status, page, frame).await;
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, PRIVATE);
        if matches!(status.as_u16(), 429 | 503) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        response
    }
}
