//! A post with a page of its comments.

use super::page::{Page, number};
use crate::islands::urls::{comment_page, page_of_comments};
use crate::islands::{CommentDraft, CommentsProps, EARLIER, comments as island, dates};
use leptos::prelude::*;
use shared::views::Thread;
use shared::{CommentId, PostId, Problem, Timestamp};
use std::sync::Arc;

/// `missing` is a comment that was stored and that query does not know yet.
pub(crate) fn post(
    post: Thread,
    body: Arc<str>,
    missing: Option<CommentId>,
    draft: CommentDraft,
    problem: Option<Problem>,
) -> Page {
    let Thread { post, comments, earlier, later, comment_count, sequence } = post;
    let has_earlier = earlier.is_some();
    let (count, sequence) = (number(comment_count), sequence.to_string());
    Page::new(post.title.clone(), move || {
        provide_context(draft);
        let waiting = missing.map(|comment| {
            view! {
                <p class="banner">
                    "Your comment has been sent and will appear here in a moment. "
                    <a href=comment_page(&post.id, &comment)>"Check again"</a>
                </p>
            }
        });
        // The only place where a text is used as HTML: `body` has been sanitised.
        let body = (!body.is_empty()).then(|| view! { <div class="prose" dir="auto" inner_html=body></div> });
        view! {
            <article class="post">
                <header>
                    <h1 dir="auto">{post.title}</h1>
                    <p class="meta">{byline(post.author, post.created_at, dates::minute)}</p>
                </header>
                {body}
            </article>
            <section class="comments" id="comments" aria-label="Comments">
                {waiting}
                {earlier_link(&post.id, earlier.as_deref())}
                {island(CommentsProps { post: post.id, has_earlier, later, count, sequence, problem }, comments)}
            </section>
        }
    })
}

/// The island shows it, and leads it elsewhere, when comments leave the page.
fn earlier_link(post: &PostId, cursor: Option<&str>) -> impl IntoView + use<> {
    let page = cursor.map(|cursor| page_of_comments(post, "before", cursor));
    view! {
        <a class="earlier" id=EARLIER hidden=page.is_none() href=page.unwrap_or_default()>
            "← Earlier comments"
        </a>
    }
}

pub(super) fn byline(
    author: String,
    at: Option<Timestamp>,
    format: fn(Timestamp) -> String,
) -> impl IntoView {
    let author = if author.is_empty() { "Anonymous".to_owned() } else { author };
    let at = at.map(|at| view! { <time datetime=at.to_string()>{format(at)}</time> });
    view! {
        <bdi class="author">{author}</bdi>
        {at}
    }
}
