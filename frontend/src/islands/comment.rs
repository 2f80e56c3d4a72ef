//! One comment, as this reader may see it.

use super::urls::comment_page;
use super::{dates, thread};
use leptos::prelude::*;
use shared::PostId;
use shared::events::Status;
use shared::views::{CommentView, NOTICE_PENDING, NOTICE_REJECTED};

/// Shown above the text of a comment, or in its place.
fn notice(comment: &CommentView) -> Option<String> {
    match comment.status {
        Status::Approved => None,
        Status::Pending if comment.mine => {
            Some(format!("{NOTICE_PENDING}. Until then only you can read it."))
        }
        Status::Pending => Some(format!("{NOTICE_PENDING}.")),
        Status::Rejected => Some(thread::with_reason(NOTICE_REJECTED, comment.reason.as_deref())),
    }
}

pub(super) fn comment_view(post: &PostId, comment: CommentView) -> impl IntoView + use<> {
    let anchor = format!("comment-{}", comment.id);
    let check = comment.mine && comment.status == Status::Pending;
    let check = check.then(|| {
        let page = comment_page(post, &comment.id);
        view! {
            <a class="check" href=page>
                "Check status"
            </a>
        }
    });
    let notice = notice(&comment).map(|notice| {
        view! {
            <p class="notice">
                {notice} " " {check}
            </p>
        }
    });
    let written = comment.created_at.map(|at| {
        view! {
            <a class="permalink" href=format!("#{anchor}")>
                <time datetime=at.to_string()>{dates::minute(at)}</time>
            </a>
        }
    });
    // Without the text nothing tells whether its writer left out the name, or the name is hidden with the text.
    let author = match (comment.author.is_empty(), comment.content.is_empty()) {
        (false, _) => Some(comment.author),
        (true, false) => Some("Anonymous".to_owned()),
        (true, true) => None,
    };
    let author = author.map(|author| view! { <bdi class="author">{author}</bdi> });
    let text = (!comment.content.is_empty()).then(|| {
        view! {
            <p class="text" dir="auto">
                {comment.content}
            </p>
        }
    });
    view! {
        <li class="comment" id=anchor.clone() data-status=comment.status.as_str()>
            <p class="meta">
                {author}
                {written}
            </p>
            {notice}
            {text}
        </li>
    }
}
