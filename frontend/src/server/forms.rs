//! Plain forms, as a browser sends them without script. The answer is 303 to the page of the result, or the page of the
//! form again with its errors and every text as it was typed.

use super::caller::Caller;
use super::services::ThreadPage;
use super::site::{Site, for_its_reader_alone};
use crate::islands::urls::{comment_page, new_post_page, newest_comments};
use crate::islands::{CommentDraft, PostDraft};
use crate::pages;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use shared::commands::{CreateComment, CreatePost};
use shared::text::IDEMPOTENCY_KEY_CHARS;
use shared::{PostId, Problem, ProblemKind, routes};
use std::sync::Arc;

/// `POST /p/new`.
pub(super) async fn new_post(
    State(site): State<Arc<Site>>,
    caller: Caller,
    form: Result<Form<PostDraft>, FormRejection>,
) -> Response {
    let mut draft = match form {
        Ok(Form(draft)) => draft,
        Err(rejection) => return site.unreadable(&rejection).await,
    };
    let sent = match CreatePost::new(&draft.title, &draft.body, &draft.author) {
        Ok(command) => site.services.create_post(&command, usable(&draft.key), &caller).await,
        Err(errors) => Err(Problem::invalid(errors)),
    };
    match sent {
        Ok(id) => {
            let known = site.services.post(&id, ThreadPage::OfNewPost, &caller).await.is_ok();
            see_other(&if known { routes::post_page(&id) } else { new_post_page(&id) })
        }
        Err(problem) => {
            draft.key = site.key_after(draft.key, &problem);
            let list = site.services.posts(None, &caller).await.ok();
            let mut response =
                site.show(status_of(&problem), pages::home(list, None, draft, Some(problem))).await;
            for_its_reader_alone(&mut response);
            response
        }
    }
}

/// `POST /p/{id}/comments`.
pub(super) async fn new_comment(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    caller: Caller,
    form: Result<Form<CommentDraft>, FormRejection>,
) -> Response {
    let Ok(id) = id.parse::<PostId>() else { return site.not_found().await };
    let mut draft = match form {
        Ok(Form(draft)) => draft,
        Err(rejection) => return site.unreadable(&rejection).await,
    };
    let sent = match CreateComment::new(&draft.content, &draft.author) {
        Ok(command) => site.services.create_comment(&id, &command, usable(&draft.key), &caller).await,
        Err(errors) => Err(Problem::invalid(errors)),
    };
    match sent {
        Ok((comment, cookies)) => {
            let mut response = see_other(&comment_page(&id, &comment));
            response.headers_mut().extend(cookies);
            response
        }
        Err(problem) => {
            draft.key = site.key_after(draft.key, &problem);
            let status = status_of(&problem);
            if let Ok(post) = site.services.post(&id, ThreadPage::Newest, &caller).await {
                return site.show_post(status, post, None, draft, Some(problem)).await;
            }
            // The post's page cannot be shown, but the text must not be lost.
            let mut response = site.show(status, pages::comment_form_alone(id, draft, problem)).await;
            for_its_reader_alone(&mut response);
            response
        }
    }
}

/// Opened as a page, for example after a reload.
pub(super) async fn to_new_post() -> Response {
    see_other("/#new-post")
}

pub(super) async fn to_comments(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Response {
    match id.parse::<PostId>() {
        Ok(id) => see_other(&newest_comments(&id)),
        Err(_) => site.not_found().await,
    }
}

fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

fn status_of(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// The form's key if it is a valid one; without it the request only cannot be repeated safely.
fn usable(key: &str) -> &str {
    let fits = key.len() <= IDEMPOTENCY_KEY_CHARS && key.bytes().all(|b| b.is_ascii_graphic());
    if fits { key } else { "" }
}

impl Site {
    /// The key of the form that is returned. A key that was refused because it was used for another text is
    /// replaced. After any other refusal the first attempt may still have been stored, and sending the form again
    /// must be recognised as the same attempt.
    fn key_after(&self, key: String, problem: &Problem) -> String {
        let used_up = problem.status == ProblemKind::Invalid.status() && problem.errors.is_empty();
        if used_up || usable(&key).is_empty() { self.new_key() } else { key }
    }

    /// The body is not a form, or is too large.
    async fn unreadable(&self, rejection: &FormRejection) -> Response {
        tracing::debug!(error = %rejection, "a form cannot be read");
        self.show(rejection.status(), pages::unreadable_form()).await
    }
}
