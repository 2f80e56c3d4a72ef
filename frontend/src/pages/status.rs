//! Pages for when there is no other.

use super::page::Page;
use crate::islands::browser::form::Form;
use crate::islands::urls::{new_comment_action, new_post_page};
use crate::islands::{CommentDraft, CommentFields};
use leptos::prelude::*;
use shared::{PostId, Problem, routes};

/// A heading, a sentence, and where to go from here.
fn apart(title: &'static str, text: &'static str, link: Option<String>, words: &'static str) -> Page {
    Page::new(title, move || {
        // An empty address is this page once more.
        let link = link.unwrap_or_default();
        view! {
            <div class="apart">
                <h1>{title}</h1>
                <p>{text}</p>
                <p>
                    <a href=link>{words}</a>
                </p>
            </div>
        }
    })
}

/// There is no such page.
pub(crate) fn not_found() -> Page {
    let text = "The address may be mistyped, or the post may never have been written.";
    apart("There is nothing here", text, Some("/".to_owned()), "See the newest posts")
}

/// A service is down.
pub(crate) fn unavailable() -> Page {
    let text = "This page cannot be shown at the moment. Nothing is lost; try again shortly.";
    apart("Back in a moment", text, None, "Try again")
}

/// A post was written, and the reading side does not know it yet.
pub(crate) fn on_its_way(post: &PostId) -> Page {
    let text = "A new post is usually here within a second. This one takes longer.";
    apart("This post is on its way", text, Some(new_post_page(post)), "Look again")
}

/// What was sent is no form, or too large.
pub(crate) fn unreadable_form() -> Page {
    let text = "What was sent is too large, or not a form. Go back: your browser still has your text.";
    apart("This could not be read", text, Some("/".to_owned()), "See the newest posts")
}

/// A comment was refused, and its page cannot be shown either: the form with the text.
pub(crate) fn comment_form_alone(post: PostId, draft: CommentDraft, problem: Problem) -> Page {
    let title = "Your comment was not sent";
    Page::new(title, move || {
        provide_context(draft);
        let state = RwSignal::new(Form { problem: Some(problem), ..Form::default() });
        view! {
            <div class="apart">
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
