//! The form for a new post.

use super::fields::{Field, Send};
use super::{NEW_POST_ACTION, awaited_post, new_post_page};
use crate::browser::{self, form, request};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use shared::commands::CreatePost;
use shared::{PostId, Problem, routes, text};
use web_sys::SubmitEvent;

const FORM: &str = "post";

/// What the form holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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

/// What the posts service answers, as far as it matters here.
#[derive(Deserialize)]
struct Created {
    id: PostId,
}

/// Sends the post and goes to its page.
async fn publish(key: &str, command: &CreatePost) -> Result<(), Problem> {
    let answer = request::post(routes::CREATE_POST, key, command).await?;
    let Created { id } = request::parse(&answer)?;
    // The reading side may be a moment behind; the page is worth the wait.
    let known = request::get(&awaited_post(&id)).await.is_ok();
    form::go_to(&if known { routes::post_page(&id) } else { new_post_page(&id) });
    Ok(())
}

/// The form for a new post.
#[island]
pub(crate) fn NewPost(
    /// What it holds at first.
    draft: PostDraft,
    /// Why it was refused, where it was.
    problem: Option<Problem>,
) -> impl IntoView {
    let problem = RwSignal::new(problem);
    let sending = RwSignal::new(false);
    let key = StoredValue::new(form::Key::new(draft.key.clone()));
    let submit = move |event: SubmitEvent| {
        let Some(fields) = form::take_over(&event, sending) else { return };
        let command = CreatePost {
            title: fields.text(text::TITLE.field),
            body: fields.text(text::BODY.field),
            author: fields.text(text::AUTHOR.field),
        };
        browser::spawn(async move {
            let sent = publish(&key.read_value().current(), &command).await;
            // On success the button stays as it is: the browser is on its way to the new page.
            if let Err(refused) = sent {
                key.write_value().after(&refused);
                form::show(FORM, problem, refused);
                sending.set(false);
            }
        });
    };
    view! {
        <form class="composer" method="post" action=NEW_POST_ACTION on:submit=submit>
            <input type="hidden" name="key" value=draft.key />
            <Field form=FORM limits=text::TITLE label="Title" hint="" value=draft.title problem />
            <Field
                form=FORM
                limits=text::BODY
                label="Text"
                hint="Markdown works: **bold**, *italic*, [a link](https://example.com), lists, quotes, code."
                value=draft.body
                rows=8
                problem
            />
            <Field form=FORM limits=text::AUTHOR label="Your name" hint="Optional." value=draft.author problem />
            <Send label="Publish" sending problem />
        </form>
    }
}
