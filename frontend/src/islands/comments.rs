//! The comments of a post, and the form for one more.

use super::browser::form::{self, Form};
use super::browser::{self, live, request};
use super::comment::comment_view;
use super::fields::{Field, SubmitButton, draft};
use super::responses::{self, CommentUpdates};
use super::thread::{Thread, count_in_words, published};
use super::urls::new_comment_action;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use shared::commands::CreateComment;
use shared::views::CommentView;
use shared::{PostId, Problem, routes, text};
use web_sys::SubmitEvent;

const FORM: &str = "comment";

/// The fields of the plain form, and what they hold after a refusal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CommentDraft {
    /// The idempotency key.
    pub key: String,
    pub content: String,
    pub author: String,
}

/// Follows the post for as long as the page is open.
fn follow(thread: RwSignal<Thread>, post: &PostId) {
    let update = move |json: &str| {
        if let Ok(CommentUpdates { comments, comment }) = request::parse(json) {
            thread.update(|thread| {
                comments.into_iter().chain(comment).for_each(|comment| thread.merge(comment));
            });
        }
    };
    let all = routes::query_post(post);
    let load_all = move || {
        let all = all.clone();
        browser::spawn(async move {
            // A failure is no loss: the stream breaks too then, and this is done again when it is back.
            if let Ok(json) = request::get(&all).await {
                update(&json);
            }
        });
    };
    live::follow(format!("{}?post={post}", routes::LIVE), load_all, move |json| update(&json));
}

async fn send(
    thread: RwSignal<Thread>,
    post: &PostId,
    key: &str,
    command: &CreateComment,
) -> Result<(), Problem> {
    let answer = request::post(&routes::post_comments(post), key, command).await?;
    let CommentUpdates { mut comments, comment } = request::parse(&responses::created(&answer))?;
    if let Some(comment) = comment.or_else(|| comments.pop()) {
        thread.update(|thread| thread.merge_sent(comment));
    }
    Ok(())
}

/// What the island begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CommentsProps {
    pub post: PostId,
    /// Oldest first, as this reader may see them.
    pub comments: Vec<CommentView>,
    /// Why the form was refused, if it was.
    pub problem: Option<Problem>,
}

/// Renders the island.
#[cfg(feature = "ssr")]
pub(crate) fn comments(props: CommentsProps) -> impl IntoView {
    super::island::render("Comments", props, view_of)
}

/// Starts the island that the server has rendered.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen(js_name = "Comments")]
pub fn start_comments(element: &leptos::web_sys::HtmlElement) {
    super::island::start(element, view_of);
}

/// The comments of a post, and the form for a new one.
fn view_of(CommentsProps { post, comments, problem }: CommentsProps) -> impl IntoView {
    let thread = RwSignal::new(Thread::new(comments));
    let state = RwSignal::new(Form { problem, ..Form::default() });
    let action = new_comment_action(&post);
    if browser::IS_BROWSER {
        follow(thread, &post);
    }
    let entries = {
        let post = post.clone();
        let entry = move |comment: &CommentView| comment_view(&post, comment.clone());
        move || thread.read().comments.iter().map(&entry).collect_view()
    };
    let submit = move |event: SubmitEvent| {
        let Some(fields) = form::take_over(&event, state) else { return };
        let [content, author] = [text::CONTENT, text::AUTHOR].map(|field| fields.text(field.field));
        let post = post.clone();
        browser::spawn(async move {
            let sent = match CreateComment::new(&content, &author) {
                Ok(command) => send(thread, &post, &fields.key(), &command).await,
                Err(errors) => Err(Problem::invalid(errors)),
            };
            match sent {
                Ok(()) => form::stored(FORM, state, &[(text::CONTENT.field, &content)]),
                Err(problem) => form::refused(FORM, state, problem),
            }
        });
    };
    view! {
        <h2>{move || count_in_words(published(&thread.read().comments))}</h2>
        <ol class="thread">{entries}</ol>
        <p class="empty" hidden=move || !thread.read().comments.is_empty()>
            "No comments yet. Yours could be the first."
        </p>
        <p class="announcement" role="status">
            {move || thread.read().announcement.clone()}
        </p>
        <form class="composer" method="post" action=action on:submit=submit>
            <CommentFields state />
        </form>
    }
}

/// Everything inside the form for a comment.
#[component]
pub(crate) fn CommentFields(state: RwSignal<Form>) -> impl IntoView {
    let draft = draft::<CommentDraft>();
    view! {
        <h3>"Leave a comment"</h3>
        <input type="hidden" name="key" id="comment-key" value=draft.key />
        <Field
            form=FORM
            limits=text::CONTENT
            label="Comment"
            hint="Everybody can read it once it has been approved."
            value=draft.content
            rows=4
            state
        />
        <Field form=FORM limits=text::AUTHOR label="Your name" hint="Optional." value=draft.author state />
        <SubmitButton label="Send comment" state />
    }
}
