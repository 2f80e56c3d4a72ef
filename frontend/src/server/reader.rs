//! The pages that readers open: load the data, decide the status, render.

use super::caller::Caller;
use super::services::ThreadPage;
use super::site::Site;
use crate::islands::urls::newest_comments;
use crate::islands::{CommentDraft, PostDraft};
use crate::pages;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use kit::http::ApiError;
use serde::Deserialize;
use shared::{CommentId, PostId, Problem, ProblemKind};
use std::sync::Arc;

#[derive(Debug, Deserialize)]
pub(super) struct List {
    cursor: Option<String>,
}

/// `GET /`: the newest posts, or those after a cursor.
pub(super) async fn home(
    State(site): State<Arc<Site>>,
    Query(list): Query<List>,
    caller: Caller,
    asked: HeaderMap,
) -> Response {
    if list.cursor.is_none() {
        match site.shared_pages.newest_posts(&site, &caller, &asked).await {
            Ok(Some(response)) => return response,
            // Rendered again, it is the page that says what went wrong.
            Ok(None) => {}
            Err(problem) => return site.unavailable(&problem).await,
        }
    }
    match site.services.posts(list.cursor.as_deref(), &caller).await {
        Ok(posts) => {
            let draft = PostDraft { key: site.new_key(), ..PostDraft::default() };
            site.show(StatusCode::OK, pages::home(Some(posts), list.cursor.as_deref(), draft, None)).await
        }
        Err(problem) => site.refused(&problem).await,
    }
}

/// Which comments to show, and whether the post was just written.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    /// The comment around which to show others. It may have just been written.
    comment: Option<String>,
    /// A page, in the words of the API.
    comments: Option<String>,
    new: Option<String>,
}

/// `GET /p/{id}`: a post with a page of its comments.
pub(super) async fn post(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
    caller: Caller,
    asked: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<PostId>() else { return site.not_found().await };
    let mut comment: Option<CommentId> = parameters.comment.and_then(|text| text.parse().ok());
    let page = match (&comment, &parameters.comments, &parameters.new) {
        (Some(comment), _, _) => ThreadPage::Around(comment),
        (None, Some(page), _) => ThreadPage::At(page),
        (None, None, Some(_)) => ThreadPage::OfNewPost,
        (None, None, None) => ThreadPage::Newest,
    };
    if page == ThreadPage::Newest {
        match site.shared_pages.post(&site, &id, &caller, &asked).await {
            Ok(Some(response)) => return response,
            // Rendered for this reader alone.
            Ok(None) => {}
            Err(problem) => return site.refused(&problem).await,
        }
    }
    let is_new = page == ThreadPage::OfNewPost;
    let may_end = matches!(page, ThreadPage::At(_));
    let mut found = site.services.post(&id, page, &caller).await;
    if let Some(wanted) = &comment {
        let may_be_late = match &found {
            Ok(post) => post.comments.iter().all(|comment| comment.id != *wanted),
            Err(problem) => problem.status == ProblemKind::NotFound.status(),
        };
        // Anybody can write an address. Only a comment that was really sent is worth the wait.
        if may_be_late && site.services.has_comment(&id, wanted, &caller).await {
            found = site.services.post(&id, ThreadPage::OfNewComment(wanted), &caller).await;
        } else {
            comment = None;
        }
    }
    match found {
        // Nothing is before or after: the comment at the cursor was the last one.
        Ok(post) if may_end && post.comments.is_empty() => {
            Redirect::to(&newest_comments(&id)).into_response()
        }
        Ok(post) => {
            let draft = CommentDraft { key: site.new_key(), ..CommentDraft::default() };
            let missing = comment.filter(|id| post.comments.iter().all(|comment| comment.id != *id));
            site.show_post(StatusCode::OK, post, missing, draft, None).await
        }
        Err(problem) if problem.status == ProblemKind::NotFound.status() && is_new => {
            site.show(StatusCode::SERVICE_UNAVAILABLE, pages::on_its_way(&id)).await
        }
        Err(problem) => site.refused(&problem).await,
    }
}

impl Site {
    /// What query's refusal means for a page.
    async fn refused(&self, problem: &Problem) -> Response {
        match problem.status {
            // The second is an invalid cursor.
            404 | 400 => self.not_found().await,
            _ => self.unavailable(problem).await,
        }
    }
}

/// Whatever is neither a page nor a file: a page for people, a problem for programs.
pub(super) async fn not_found(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.into_iter().any(|value| value.contains("text/html")) {
        site.not_found().await
    } else {
        ApiError::new(ProblemKind::NotFound).into_response()
    }
}
