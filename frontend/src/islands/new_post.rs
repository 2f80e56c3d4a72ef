//! The form for a new post.

use super::browser::form::{self, Form};
use super::browser::{self, request};
use super::fields::{Field, Send};
use super::props::{Handed, draft};
use super::responses::Post;
use super::urls::{NEW_POST_ACTION, awaited_post, new_post_page};
use leptos::prelude::*;
use serde::Deserialize;
use shared::commands::CreatePost;
use shared::{Problem, routes, text};
use web_sys::SubmitEvent;

const FORM: &str = "post";

/// What the form holds at first: its text after a refusal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PostDraft {
    /// Makes sending the same form twice one post.
    pub key: String,
    /// The title.
    pub title: String,
    /// The body, in Markdown.
    pub body: String,
    /// The writer's name.
    pub author: String,
}

/// Sends the post. Gives its page.
async fn publish(key: &str, command: &CreatePost) -> Result<String, Problem> {
    let answer = request::post(routes::CREATE_POST, key, command).await?;
    let Post { id, .. } = request::parse(&answer)?;
    // The reading side may be a moment behind; the page is worth the wait.
    let known = request::get(&awaited_post(&id)).await.is_ok();
    Ok(if known { routes::post_page(&id) } else { new_post_page(&id) })
}

/// The form for a new post.
#[island]
pub(crate) fn NewPost(
    /// Why it was refused, where it was.
    problem: Handed<Option<Problem>>,
) -> impl IntoView {
    let draft = draft::<PostDraft>();
    let state = RwSignal::new(Form { problem: problem.0, ..Form::default() });
    let submit = move |event: SubmitEvent| {
        let Some(fields) = form::take_over(&event, state) else { return };
        let [title, body, author] =
            [text::TITLE, text::BODY, text::AUTHOR].map(|field| fields.text(field.field));
        browser::spawn(async move {
            let sent = match CreatePost::new(&title, &body, &author) {
                Ok(command) => publish(&fields.key(), &command).await,
                Err(errors) => Err(Problem::invalid(errors)),
            };
            match sent {
                Ok(page) => fields.leave_for(&page, state),
                Err(refused) => form::refused(FORM, state, refused),
            }
        });
    };
    view! {
        <form class="composer" method="post" action=NEW_POST_ACTION on:submit=submit>
            <input type="hidden" name="key" id="post-key" value=draft.key />
            <Field form=FORM limits=text::TITLE label="Title" value=draft.title state />
            <Field
                form=FORM
                limits=text::BODY
                label="Text"
                hint="Markdown works: **bold**, *italic*, [a link](https://example.com), lists, quotes, code."
                value=draft.body
                rows=8
                state
            />
            <Field form=FORM limits=text::AUTHOR label="Your name" hint="Optional." value=draft.author state />
            <Send label="Publish" state />
        </form>
    }
}
