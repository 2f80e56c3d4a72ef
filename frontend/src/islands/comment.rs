//! One comment, as this reader may see it: how it is rendered, and how the island reads it back from the page, so that a
//! page holds each comment once.

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
    let page = comment_page(post, &comment.id);
    let check = comment.mine && comment.status == Status::Pending;
    let check = check.then(|| {
        view! {
            <a class="check" href=page.clone()>
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
            <a class="permalink" href=page>
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

/// The comments that the server has rendered into the island.
#[cfg(feature = "hydrate")]
pub(super) fn shown_in(island: &web_sys::Element) -> Vec<CommentView> {
    let list = island.query_selector(".thread").ok().flatten();
    let first = list.and_then(|list| list.first_element_child());
    std::iter::successors(first, web_sys::Element::next_element_sibling)
        .filter_map(|entry| read(&entry))
        .collect()
}

/// Reads what [`comment_view`] has rendered: rendering it again gives the same elements.
#[cfg(feature = "hydrate")]
fn read(entry: &web_sys::Element) -> Option<CommentView> {
    let part = |css: &str| entry.query_selector(css).ok().flatten();
    let text = |css: &str| part(css).and_then(|part| part.text_content()).unwrap_or_default();
    Some(CommentView {
        id: entry.id().strip_prefix("comment-")?.parse().ok()?,
        content: text(".text"),
        status: status_of(&entry.get_attribute("data-status")?)?,
        author: text(".author"),
        reason: reason_in(&text(".notice")),
        created_at: part("time").and_then(|time| time.get_attribute("datetime")?.parse().ok()),
        version: None,
        mine: part(".check").is_some(),
    })
}

/// (Its `FromStr` has a message, which would go into the browser's download.)
#[cfg(feature = "hydrate")]
fn status_of(text: &str) -> Option<Status> {
    [Status::Pending, Status::Approved, Status::Rejected].into_iter().find(|status| status.as_str() == text)
}

/// The reason in the notice of a rejected comment.
#[cfg(any(test, feature = "hydrate"))]
fn reason_in(notice: &str) -> Option<String> {
    let reason = notice.strip_prefix(NOTICE_REJECTED)?.strip_prefix(": ")?;
    Some(reason.trim_end_matches(' ').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_rejection_is_read_from_its_notice() {
        for reason in [None, Some("it is spam"), Some("spam: all of it"), Some("spam...")] {
            let sentence = thread::with_reason(NOTICE_REJECTED, reason);
            let read = reason_in(&format!("{sentence} "));
            assert_eq!(thread::with_reason(NOTICE_REJECTED, read.as_deref()), sentence);
            assert_eq!(read.is_some(), reason.is_some());
        }
        assert_eq!(reason_in(&format!("{NOTICE_PENDING}. ")), None);
    }
}
