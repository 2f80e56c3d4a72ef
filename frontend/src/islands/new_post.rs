//! The form for a new post.

use super::browser::form::{self, Form};
use super::browser::{self, request};
use super::fields::{Field, SubmitButton, draft};
use super::responses::Post;
use super::urls::{NEW_POST_ACTION, awaited_post, new_post_page};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use shared::commands::CreatePost;
use shared::{Problem, routes, text};
use web_sys::SubmitEvent;

const FORM: &str = "post";

/// The fields of the plain form, and what they hold after a refusal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PostDraft {
    /// The idempotency key.
    pub key: String,
    pub title: String,
    /// In Markdown.
    pub body: String,
    pub author: String,
}

/// Returns the path of the post's page.
async fn publish(key: &str, command: &CreatePost) -> Result<String, Problem> {
    let answer = request::post(routes::CREATE_POST, key, command).await?;
    let Post { id, .. } = request::parse(&answer)?;
    // Query may be a moment behind: waiting here is better than a page without the post.
    let known = request::get(&awaited_post(&id)).await.is_ok();
    Ok(if known { routes::post_page(&id) } else { new_post_page(&id) })
}

/// What the island begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewPostProps {
    /// Why the form was refused, if it was.
    pub problem: Option<Problem>,
}

/// Renders the island.
#[cfg(feature = "ssr")]
pub(crate) fn new_post(props: NewPostProps) -> impl IntoView {
    super::island::render("NewPost", props, view_of)
}

/// Starts the island that the server has rendered.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen(js_name = "NewPost")]
pub fn start_new_post(element: &leptos::web_sys::HtmlElement) {
    super::island::start(element, view_of);
}

/// The form for a new post.
fn view_of(NewPostProps { problem }: NewPostProps) -> impl IntoView {
    let draft = draft::<PostDraft>();
    let state = RwSignal::new(Form::new(problem));
    let published = RwSignal::new(String::new());
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
                Ok(page) => {
                    // The form is ready for the next post at once: the reader may stop the browser on its way to the
                    // page, or come back.
                    form::stored(FORM, state, &[(text::TITLE.field, &title), (text::BODY.field, &body)]);
                    published.set(page.clone());
                    // Fails for invalid addresses only.
                    let _ = location().set_href(&page);
                }
                Err(problem) => form::refused(FORM, state, problem),
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
            <SubmitButton label="Publish" state />
            <p class="announcement" role="status" hidden=move || published.read().is_empty()>
                "Your post is published. "
                <a href=move || published.get()>"Read it"</a>
            </p>
        </form>
    }
}
