//! Pages without content of their own: what happened, and what to do now.

use super::layout::{Frame, plain_document};
use super::page::Page;
use crate::islands::browser::form::Form;
use crate::islands::urls::{new_comment_action, new_post_page};
use crate::islands::{CommentDraft, CommentFields};
use leptos::prelude::*;
use shared::{PostId, Problem, routes};

/// An empty address leads to the same page again.
fn status_page(
    title: &'static str,
    text: &'static str,
    address: impl Into<String>,
    link: &'static str,
) -> Page {
    let address = address.into();
    Page::new(title, move || {
        view! {
            <div class="status">
                <h1>{title}</h1>
                <p>{text}</p>
                <p>
                    <a href=address>{link}</a>
                </p>
            </div>
        }
    })
}

pub(crate) fn not_found() -> Page {
    let text = "Check the address. If you followed a link, the post may never have existed.";
    status_page("Page not found", text, "/", "See the newest posts")
}

/// A service is down.
pub(crate) fn unavailable() -> Page {
    let text = "This page cannot be shown right now. Nothing is lost: try again in a moment.";
    status_page("Temporarily unavailable", text, "", "Try again")
}

/// A post was accepted, and query does not know it yet.
pub(crate) fn on_its_way(post: &PostId) -> Page {
    let text = "Your post has been accepted. It usually appears within a second; this one takes longer.";
    status_page("This post is on its way", text, new_post_page(post), "Try again")
}

pub(crate) fn unreadable_form() -> Page {
    let text = "The submission was too large or malformed. Go back: your browser still has your text.";
    status_page("The form could not be read", text, "/", "See the newest posts")
}

/// A comment was refused and its post cannot be shown either: the form with its text.
pub(crate) fn comment_form_alone(post: PostId, draft: CommentDraft, problem: Problem) -> Page {
    let title = "Your comment was not sent";
    Page::new(title, move || {
        provide_context(draft);
        let state = RwSignal::new(Form::new(Some(problem)));
        view! {
            <div class="status">
                <h1>{title}</h1>
                <form class="composer" method="post" action=new_comment_action(&post)>
                    <CommentFields state />
                </form>
                <p>
                    <a href=routes::post_page(&post)>"See the post"</a>
                </p>
            </div>
        }
    })
}

/// For when a page cannot be rendered: it must not depend on what has just failed.
pub(crate) fn failure_page(frame: &Frame) -> String {
    let content = "<div class=\"status\"><h1>Something went wrong</h1>\
        <p>This page cannot be shown because of an error on our side. The error has been logged. \
        Your text, if you sent one, is still in your browser: go back to it.</p>\
        <p><a href=\"/\">See the newest posts</a></p></div>";
    plain_document("Something went wrong", content, frame)
}
