//! A page of the comments of a post, and the form for one more.

use super::browser::form::{self, Form};
use super::browser::{self, live, request};
use super::comment::comment_view;
use super::fields::{Field, SubmitButton, draft};
use super::responses::{self, CommentUpdates};
use super::thread::{Thread, count_in_words};
use super::urls::{comment_in, comment_page, new_comment_action, newest_comments, page_of_comments};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use shared::commands::CreateComment;
use shared::views::CommentView;
use shared::{PostId, Problem, routes, text};
use web_sys::{MessageEvent, SubmitEvent};

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

/// The id of the link to the comments before these, which the page has outside the island.
pub(crate) const EARLIER: &str = "earlier";

/// Once the oldest comment of the thread is another one, the link to the comments before it leads elsewhere.
fn lead_earlier(thread: RwSignal<Thread>, post: &PostId) {
    let thread = thread.read_untracked();
    let oldest = thread.comments.first().filter(|_| thread.is_trimmed);
    let (Some(oldest), Some(link)) = (oldest, document().get_element_by_id(EARLIER)) else { return };
    // Both fail for invalid names only.
    let _ = link.set_attribute("href", &comment_page(post, &oldest.id));
    let _ = link.remove_attribute("hidden");
}

/// Follows the post for as long as the page is open, from the state that the page shows.
fn follow(thread: RwSignal<Thread>, post: &PostId, sequence: String) {
    // The API names the pages of a thread as the site does.
    let page = routes::query_post(post) + &location().search().unwrap_or_default();
    let this = post.clone();
    let load_again = move |reload: &MessageEvent| {
        let (page, post, id) = (page.clone(), this.clone(), reload.last_event_id());
        browser::spawn(async move {
            // A failure is a broken connection, and so it is for the stream, which says again what it has missed.
            if let Ok(page) = request::get_as_of(&page, &id).await.and_then(|json| request::parse(&json)) {
                thread.write().replace(page);
                lead_earlier(thread, &post);
            }
        });
    };
    let this = post.clone();
    let change = move |change: &MessageEvent| {
        if let Some(Ok(updates)) = change.data().as_string().map(|json| request::parse(&json)) {
            thread.write().merge(updates);
            lead_earlier(thread, &this);
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
    // An address with a query is a newer one: the server knows which comments are meant.
    if !is_here && search.is_empty() {
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
        let is_shown = thread.write().merge_sent(comment);
        lead_earlier(thread, post);
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
    /// Whether there is a page before.
    pub has_earlier: bool,
    /// Where the page after this one begins, if there is one.
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
    let CommentsProps { post, has_earlier, later, count, sequence, problem } = props;
    let thread = RwSignal::new(Thread { comments, count, has_earlier, later, ..Thread::default() });
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
    let is_newest = move || thread.read().later.is_none();
    let newest = newest_comments(&post);
    let later = {
        let post = post.clone();
        move || thread.read().later.as_deref().map(|cursor| page_of_comments(&post, "after", cursor))
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
        <h2>{move || count_in_words(thread.read().count)}</h2>
        <ol class="thread">{entries}</ol>
        <p class="pages" hidden=is_newest>
            <a class="later" href=later>
                "Later comments →"
            </a>
            <a class="newest" href=newest>
                "Newest comments"
            </a>
        </p>
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
