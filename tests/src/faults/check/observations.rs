//! What readers saw, against the log.

use super::Check;
use crate::faults::history::{History, Logged};
use crate::faults::ledger::Seen;
use shared::EventType::{CommentCreated, CommentModerated, CommentUpdated, PostCreated};
use std::collections::BTreeSet;

pub(super) fn pages(seen: &Seen, history: &History) -> Check {
    let mut check = Check::new(
        "no page showed what is not in the log",
        format!("{} posts, {} states of comments", seen.posts.len(), seen.comments.len()),
    );
    let (mut posts, mut states) = (BTreeSet::new(), BTreeSet::new());
    for event in &history.log {
        match event.kind {
            Some(PostCreated) => posts.extend([(event.post(), event.text("title"))]),
            Some(CommentCreated) => states.extend([(event.post(), event.text("id"), "pending")]),
            Some(CommentUpdated) => states.extend([(event.post(), event.text("id"), event.text("status"))]),
            Some(CommentModerated) | None => {}
        }
    }
    for (id, title) in &seen.posts {
        if !posts.contains(&(id, title)) {
            check.wrong(|| format!("post {id}, {title:?}"));
        }
    }
    for comment in &seen.comments {
        if !states.contains(&(&comment.post, &comment.id, &comment.status)) {
            check.wrong(|| format!("{comment:?}"));
        }
    }
    check
}

/// The event with this sequence.
fn at(history: &History, sequence: u64) -> Option<&Logged> {
    history.log.get(usize::try_from(sequence).ok()?.checked_sub(1)?)
}

pub(super) fn changes(seen: &Seen, history: &History) -> Check {
    let mut check = Check::new(
        "every change sent by /live is the one with that sequence in the log",
        format!("{} changes", seen.changes.len()),
    );
    for change in &seen.changes {
        let fits =
            |event: &Logged| event.post() == change.post && event.comment() == change.comment.as_deref();
        if !at(history, change.sequence).is_some_and(fits) {
            check.wrong(|| format!("{change:?}"));
        }
    }
    check
}

pub(super) fn stream(seen: &Seen, history: &History) -> Check {
    let mut check =
        Check::new("the streamed log is the log, to its end", format!("{} events", seen.streamed.len()));
    if seen.streamed.len() != history.log.len() {
        check.wrong(|| format!("{} events were streamed of {}", seen.streamed.len(), history.log.len()));
    }
    for (id, event) in seen.streamed.iter().zip(&history.log) {
        if *id != event.id {
            check
                .wrong(|| format!("{id} was streamed as {}, where the log has {}", event.sequence, event.id));
        }
    }
    check
}
