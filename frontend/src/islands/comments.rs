//! The comments of a post, and the form for one more.

use super::browser::form::{self, Form};
use super::browser::{self, live, request};
use super::comment::comment_view;
use super::fields::{Field, Send};
use super::props::{Handed, draft};
use super::responses::News;
use super::thread;
use super::urls::new_comment_action;
use leptos::prelude::*;
use serde::Deserialize;
use shared::commands::CreateComment;
use shared::events::Status;
use shared::views::CommentView;
use shared::{PostId, Problem, routes, text};
use web_sys::SubmitEvent;

const FORM: &str = "comment";

/// What the form holds at first: its text after a refusal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CommentDraft {
    /// Makes sending the same form twice one comment.
    pub key: String,
    /// The comment.
    pub content: String,
    /// The writer's name.
    pub author: String,
}

/// What the page shows, and what it says aloud.
struct Board {
    comments: Vec<CommentView>,
    said: String,
}

impl Board {
    fn take_in(&mut self, news: CommentView) {
        let (status, reason) = (news.status, news.reason.clone());
        // Only the reader's own comment is worth an interruption.
        if !thread::take_in(&mut self.comments, news) {
            return;
        }
        self.said = match status {
            Status::Pending => return,
            Status::Approved => "Your comment is published.".to_owned(),
            Status::Rejected => thread::rejected("Your comment has been rejected", reason.as_deref()),
        };
    }
}

/// Follows the post for as long as the page is open.
fn follow(board: RwSignal<Board>, post: &PostId) {
    let hear = move |told: &str| {
        if let Ok(News { comments, comment }) = request::parse(told) {
            board.update(|board| {
                comments.into_iter().chain(comment).for_each(|comment| board.take_in(comment));
            });
        }
    };
    let whole = routes::query_post(post);
    let look = move || {
        let whole = whole.clone();
        // What changed before the stream opened was told to nobody.
        browser::spawn(async move {
            if let Ok(told) = request::get(&whole).await {
                hear(&told);
            }
        });
    };
    live::follow(format!("{}?post={post}", routes::LIVE), look, move |told| hear(&told));
}

/// Sends a comment and shows it.
async fn send(
    board: RwSignal<Board>,
    post: &PostId,
    key: &str,
    command: &CreateComment,
) -> Result<(), Problem> {
    let answer = request::post(&routes::post_comments(post), key, command).await?;
    // The course's answer is the whole thread; the new comment stands last.
    if let Some(mut comment) = request::parse::<Vec<CommentView>>(&answer)?.pop() {
        comment.mine = true;
        board.update(|board| {
            "Your comment is sent and awaits moderation.".clone_into(&mut board.said);
            board.take_in(comment);
        });
    }
    Ok(())
}

/// The comments of a post, and the form for one more.
#[island]
pub(crate) fn Comments(
    /// The post.
    post: Handed<PostId>,
    /// Its comments, oldest first, as this reader may see them.
    comments: Handed<Vec<CommentView>>,
    /// Why the form was refused, where it was.
    problem: Handed<Option<Problem>>,
) -> impl IntoView {
    let board = RwSignal::new(Board { comments: comments.0, said: String::new() });
    let state = RwSignal::new(Form { problem: problem.0, ..Form::default() });
    let post = post.0;
    let action = new_comment_action(&post);
    if browser::HERE {
        follow(board, &post);
    }
    let entries = {
        let post = post.clone();
        let entry = move |comment: &CommentView| comment_view(&post, comment.clone());
        move || board.read().comments.iter().map(&entry).collect_view()
    };
    let submit = move |event: SubmitEvent| {
        let Some(fields) = form::take_over(&event, state) else { return };
        let [content, author] = [text::CONTENT, text::AUTHOR].map(|field| fields.text(field.field));
        let post = post.clone();
        browser::spawn(async move {
            let sent = match CreateComment::new(&content, &author) {
                Ok(command) => send(board, &post, &fields.key(), &command).await,
                Err(errors) => Err(Problem::invalid(errors)),
            };
            match sent {
                Ok(()) => form::arrived(FORM, state, text::CONTENT.field, &content),
                Err(refused) => form::refused(FORM, state, refused),
            }
        });
    };
    view! {
        <h2>{move || thread::count_in_words(thread::published(&board.read().comments))}</h2>
        <ol class="thread">{entries}</ol>
        <p class="empty" hidden=move || !board.read().comments.is_empty()>
            "Be the first to say something."
        </p>
        <p class="said" role="status">
            {move || board.read().said.clone()}
        </p>
        <form class="composer" method="post" action=action on:submit=submit>
            <CommentFields state />
        </form>
    }
}

/// The inside of the form for a comment.
#[component]
pub(crate) fn CommentFields(
    /// Where the form stands.
    state: RwSignal<Form>,
) -> impl IntoView {
    let draft = draft::<CommentDraft>();
    view! {
        <h3>"Say something"</h3>
        <input type="hidden" name="key" id="comment-key" value=draft.key />
        <Field
            form=FORM
            limits=text::CONTENT
            label="Comment"
            hint="It appears for everybody once it has been approved."
            value=draft.content
            rows=4
            state
        />
        <Field form=FORM limits=text::AUTHOR label="Your name" hint="Optional." value=draft.author state />
        <Send label="Send comment" state />
    }
}
