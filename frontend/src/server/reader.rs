//! What readers are shown: data first, then the status, then the page.

use super::caller::Caller;
use super::services::Awaited;
use super::site::Site;
use crate::islands::{CommentDraft, PostDraft};
use crate::pages;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use kit::web::Failure;
use serde::Deserialize;
use shared::{CommentId, PostId, ProblemKind};

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
        Failure::new(ProblemKind::NotFound).into_response()
    }
}
