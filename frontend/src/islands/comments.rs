//! A page of the comments of a post, and the form for one more.

use super::browser::form::{self, Form};
use super::browser::{self, live, request};
use super::comment::comment_view;
use super::fields::{Field, SubmitButton, draft};
use super::responses::{self, CommentUpdates};
use super::thread::{Thread, count_in_words};
use super::urls::{comment_in, comment_page, new_comment_action};
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

/// Follows the post for as long as the page is open, from the state that the page shows.
fn follow(thread: RwSignal<Thread>, post: &PostId, sequence: String) {
    // The API names the pages of a thread as the site does.
    let page = format!("{}{}", routes::query_post(post), location().search().unwrap_or_default());
    let load_again = move || {
        let page = page.clone();
        browser::spawn(async move {
            // A failure is a broken connection, and so it is for the stream, which says again what it has missed.
            if let Ok(page) = request::get(&page).await.and_then(|json| request::parse(&json)) {
                thread.update(|thread| thread.replace(page));
            }
        });
    };
    let change = move |json: &str| {
        if let Ok(updates) = request::parse(json) {
            thread.update(|thread| thread.merge(updates));
        }
    };
    live::follow(format!("{}?post={post}&after=", routes::LIVE), sequence, load_again, change);
}

/// Goes to the page of the comment that an old address names, if this page does not hold it.
fn find_named_comment(post: &PostId) {
    let location = location();
    let (Ok(fragment), Ok(search)) = (location.hash(), location.search()) else { return };
    let Some(comment) = comment_in(&fragment) else { return };
    let is_here = document().get_element_by_id(fragment.trim_start_matches('#')).is_some();
    // The server has looked for it already if it is named in the query.
    if !is_here && !search.contains("comment=") {
        // Fails for invalid addresses only.
        let _ = location.replace(&comment_page(post, &comment));
    }
}

async fn send(
    thread: RwSignal<Thread>,
    post: &PostId,
    key: &str,
    command: &CreateComment,
) -> Result<(), Problem> {
    let answer = request::post(&routes::post_comments(post), key, command).await?;
    let CommentUpdates { mut comments, comment, .. } = request::parse(&responses::created(&answer))?;
    if let Some(comment) = comment.or_else(|| comments.pop()) {
        let page = comment_page(post, &comment.id);
        let is_shown = thread.try_update(|thread| thread.merge_sent(comment)).unwrap_or(true);
        if !is_shown {
            // Fails for invalid addresses only.
            let _ = location().set_href(&page);
        }
    }
    Ok(())
}

/// What the island begins with, beside the comments, which the page holds already.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CommentsProps {
    pub post: PostId,
    /// The cursor of the page before.
    pub earlier: Option<String>,
    /// The cursor of the page after.
    pub later: Option<String>,
    /// The number of approved comments, on all pages.
    pub count: usize,
    /// The state that the page shows.
    pub sequence: String,
    /// Why the form was refused, if it was.
    pub problem: Option<Problem>,
}

/// Renders the island. The comments are as this reader may see them, oldest first.
#[cfg(feature = "ssr")]
pub(crate) fn comments(props: CommentsProps, comments: Vec<CommentView>) -> impl IntoView {
    super::island::render("Comments", props, |props| view_of(props, comments))
}

/// Starts the island that the server has rendered.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen(js_name = "Comments")]
pub fn start_comments(element: &leptos::web_sys::HtmlElement) {
    let comments = super::comment::shown_in(element);
    super::island::start(element, |props| view_of(props, comments));
}

/// The comments of a post, and the form for a new one.
fn view_of(props: CommentsProps, comments: Vec<CommentView>) -> impl IntoView {
    let CommentsProps { post, earlier, later, count, sequence, problem } = props;
    let thread = RwSignal::new(Thread { comments, count, earlier, later, ..Thread::default() });
    let state = RwSignal::new(Form::new(problem));
    let action = new_comment_action(&post);
    if browser::IS_BROWSER {
        find_named_comment(&post);
        follow(thread, &post, sequence);
    }
    let entries = {
        let post = post.clone();
        let entry = move |comment: &CommentView| comment_view(&post, comment.clone());
        move || thread.read().comments.iter().map(&entry).collect_view()
    };
    let [earlier, later, newest] = [
        ("earlier", "← Earlier comments", Thread::earlier_page as fn(&Thread, &PostId) -> String),
        ("later", "Later comments →", Thread::later_page),
        ("newest", "Newest comments", Thread::newest_page),
    ]
    .map(|(class, words, address)| page_link(thread, &post, class, words, address));
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
        <h2>{move || count_in_words(thread.read().count)}</h2>
        {earlier}
        <ol class="thread">{entries}</ol>
        {later}
        {newest}
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

/// A link to another page of the thread, hidden where there is none. (One type for all, since each brings its own code.)
fn page_link(
    thread: RwSignal<Thread>,
    post: &PostId,
    class: &'static str,
    words: &'static str,
    address: fn(&Thread, &PostId) -> String,
) -> impl IntoView + use<> {
    let post = post.clone();
    let address = move || address(&thread.read(), &post);
    let hidden = address.clone();
    view! {
        <a class=class href=address hidden=move || hidden().is_empty()>
            {words}
        </a>
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
