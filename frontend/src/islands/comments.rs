//! The comments of a post, and the form for one more.

use super::comment::comment_view;
use super::fields::{Field, Send};
use super::new_comment_action;
use crate::browser::{self, form, live, request};
use crate::thread;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use shared::commands::CreateComment;
use shared::events::Status;
use shared::views::CommentView;
use shared::{PostId, Problem, routes, text};
use web_sys::SubmitEvent;

const FORM: &str = "comment";

/// What the form holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CommentDraft {
    /// Makes sending the same form twice one comment.
    pub key: String,
    /// The comment.
    pub content: String,
    /// The writer's name.
    pub author: String,
}

/// A post as the reading side answers it, as far as it matters here.
#[derive(Deserialize)]
struct Thread {
    comments: Vec<CommentView>,
}

/// A change as the live stream tells it, as far as it matters here.
#[derive(Deserialize)]
struct Change {
    comment: Option<CommentView>,
}

/// What the page shows, and what it says aloud.
#[derive(Clone, Copy)]
struct Board {
    comments: RwSignal<Vec<CommentView>>,
    said: RwSignal<String>,
}

impl Board {
    fn take_in(self, news: CommentView) {
        let verdict = news.clone();
        if self.comments.try_update(|thread| thread::take_in(thread, news)) != Some(true) {
            return;
        }
        // Only the reader's own comment is worth an interruption.
        match verdict.status {
            Status::Pending => {}
            Status::Approved => self.said.set("Your comment is published.".to_owned()),
            Status::Rejected => {
                let why = verdict.reason.unwrap_or_default();
                self.said.set(format!("Your comment has been rejected. {why}"));
            }
        }
    }

    /// Follows the post for as long as the page is open.
    fn follow(self, post: &PostId) {
        let whole = routes::query_post(post);
        let look = move || {
            let whole = whole.clone();
            // What changed before the stream opened was told to nobody.
            browser::spawn(async move {
                let Ok(answer) = request::get(&whole).await else { return };
                let Ok(now) = request::parse::<Thread>(&answer) else { return };
                now.comments.into_iter().for_each(|comment| self.take_in(comment));
            });
        };
        live::follow(format!("{}?post={post}", routes::LIVE), look, move |change| {
            if let Ok(Change { comment: Some(comment) }) = request::parse(&change) {
                self.take_in(comment);
            }
        });
    }

    /// Sends a comment and shows it.
    async fn send(self, post: &PostId, key: &str, command: &CreateComment) -> Result<(), Problem> {
        let answer = request::post(&routes::post_comments(post), key, command).await?;
        // The course's answer is the whole thread; the new comment stands last.
        let Some(mut comment) = request::parse::<Vec<CommentView>>(&answer)?.pop() else { return Ok(()) };
        comment.mine = true;
        if comment.content.is_empty() && comment.status == Status::Pending {
            comment.content.clone_from(&command.content);
        }
        self.said.set("Your comment is sent and awaits moderation.".to_owned());
        self.take_in(comment);
        Ok(())
    }
}

/// The comments of a post, and the form for one more.
#[island]
pub(crate) fn Comments(
    /// The post.
    post: PostId,
    /// Its comments, oldest first, as this reader may see them.
    comments: Vec<CommentView>,
    /// What the form holds at first.
    draft: CommentDraft,
    /// Why the form was refused, where it was.
    problem: Option<Problem>,
) -> impl IntoView {
    let board = Board { comments: RwSignal::new(comments), said: RwSignal::new(String::new()) };
    let problem = RwSignal::new(problem);
    let sending = RwSignal::new(false);
    let key = StoredValue::new(form::Key::new(draft.key.clone()));
    let action = new_comment_action(&post);
    let post = StoredValue::new(post);
    if browser::HERE {
        post.with_value(|post| board.follow(post));
    }

    let submit = move |event: SubmitEvent| {
        let Some(fields) = form::take_over(&event, sending) else { return };
        let command = CreateComment {
            content: fields.text(text::CONTENT.field),
            author: fields.text(text::AUTHOR.field),
        };
        browser::spawn(async move {
            let sent = board.send(&post.get_value(), &key.read_value().current(), &command).await;
            match sent {
                Ok(()) => {
                    key.write_value().renew();
                    problem.set(None);
                    form::clear(FORM, text::CONTENT.field, &command.content);
                }
                Err(refused) => {
                    key.write_value().after(&refused);
                    form::show(FORM, problem, refused);
                }
            }
            sending.set(false);
        });
    };
    let heading = move || thread::count_in_words(board.comments.with(|all| thread::published(all)));
    let entries = move || {
        let entry = |comment| post.with_value(|post| comment_view(post, comment));
        board.comments.get().into_iter().map(entry).collect_view()
    };
    let empty = move || {
        board.comments.read().is_empty().then(|| view! { <p class="empty">"Be the first to say something."</p> })
    };
    view! {
        <h2>{heading}</h2>
        <ol class="thread">{entries}</ol>
        {empty}
        <p class="said" role="status">
            {move || board.said.get()}
        </p>
        <form class="composer" method="post" action=action on:submit=submit>
            <CommentFields draft problem sending />
        </form>
    }
}

/// The inside of the form for a comment.
#[component]
pub(crate) fn CommentFields(
    /// What it holds at first.
    draft: CommentDraft,
    /// What is wrong with it.
    problem: RwSignal<Option<Problem>>,
    /// Whether it is on its way.
    sending: RwSignal<bool>,
) -> impl IntoView {
    view! {
        <h3>"Say something"</h3>
        <input type="hidden" name="key" value=draft.key />
        <Field
            form=FORM
            limits=text::CONTENT
            label="Comment"
            hint="It appears for everybody once it has been approved."
            value=draft.content
            rows=4
            problem
        />
        <Field form=FORM limits=text::AUTHOR label="Your name" hint="Optional." value=draft.author problem />
        <Send label="Send comment" sending problem />
    }
}
