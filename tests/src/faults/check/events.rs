//! The log against itself and against the moderation rules.

use super::Check;
use crate::faults::history::{History, Logged};
use shared::EventType::{CommentCreated, CommentModerated, CommentUpdated, PostCreated};
use std::collections::{BTreeMap, BTreeSet};

/// The verdict of the course's rule on a comment.
fn verdict(content: &str) -> &'static str {
    if content.to_lowercase().contains("orange") { "rejected" } else { "approved" }
}

pub(super) fn sequences(history: &History) -> Check {
    let mut check =
        Check::new("the log has no gap and no event twice", format!("{} events", history.log.len()));
    let mut ids = BTreeSet::new();
    for (event, expected) in history.log.iter().zip(1..) {
        if event.sequence != expected {
            check.wrong(|| format!("{} instead of {expected}", event.sequence));
        }
        if !ids.insert((&event.source, &event.id)) {
            check.wrong(|| format!("twice in the log: {event:?}"));
        }
    }
    check
}

/// The events of one comment, in the order of the log.
fn by_comment(history: &History) -> BTreeMap<&str, Vec<&Logged>> {
    let mut comments: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in &history.log {
        if let Some(comment) = event.comment() {
            comments.entry(comment).or_default().push(event);
        }
    }
    comments
}

pub(super) fn one_verdict(history: &History) -> Check {
    let comments = by_comment(history);
    let mut check = Check::new(
        "every comment has exactly one verdict, the one that the rules give",
        format!("{} comments", comments.len()),
    );
    for (id, events) in &comments {
        let expected = verdict(events[0].text("content"));
        for kind in [CommentModerated, CommentUpdated] {
            let said: Vec<_> =
                events.iter().filter(|e| e.kind == Some(kind)).map(|e| e.text("status")).collect();
            if said != [expected] {
                check.wrong(|| format!("{id} is {expected} by the rules, and {kind} has {said:?}"));
            }
        }
        let held = history.comments.get(events[0].post());
        let held =
            held.and_then(|all| all.iter().find(|(known, _)| known == id)).map(|(_, status)| status.as_str());
        if held != Some(expected) {
            check.wrong(|| format!("{id} is {expected} by the rules, and {held:?} in the comments service"));
        }
    }
    check
}

pub(super) fn order(history: &History) -> Check {
    let mut check = Check::new(
        "the log keeps each key's order: post, comment, verdict, update, each after its cause",
        format!("{} events", history.log.len()),
    );
    let mut posts = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let mut last = BTreeMap::new();
    for event in &history.log {
        ids.insert(event.id.as_str());
        let Some(kind) = event.kind else {
            check.wrong(|| format!("not an event of this system: {event:?}"));
            continue;
        };
        let before = match kind {
            PostCreated => {
                posts.insert(event.post());
                continue;
            }
            CommentCreated => None,
            CommentModerated => Some(CommentCreated),
            CommentUpdated => Some(CommentModerated),
        };
        if !posts.contains(event.post()) {
            check.wrong(|| format!("before its post: {event:?}"));
        }
        let found = last.insert(event.text("id"), kind);
        if found != before {
            check.wrong(|| format!("after {found:?}, and not after {before:?}: {event:?}"));
        }
        if before.is_some() && !event.cause.as_deref().is_some_and(|cause| ids.contains(cause)) {
            check.wrong(|| format!("its cause is not before it: {event:?}"));
        }
    }
    check
}

pub(super) fn order_in_comments(history: &History) -> Check {
    let mut logged: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in history.log.iter().filter(|event| event.kind == Some(CommentCreated)) {
        logged.entry(event.post()).or_default().push(event.text("id"));
    }
    let mut check = Check::new(
        "comments were published in the order in which they were taken",
        format!("{} posts with comments", logged.len()),
    );
    for (post, ids) in logged {
        let held = history.comments.get(post).into_iter().flatten();
        let held: Vec<_> = held.map(|(id, _)| id.as_str()).collect();
        if held != ids {
            check.wrong(|| format!("post {post}: {held:?} in the service, {ids:?} in the log"));
        }
    }
    check
}

pub(super) fn dead_letters(history: &History) -> Check {
    let services = history.dead_letters.len();
    let mut check = Check::new("nothing was parked", format!("the dead letters of {services} services"));
    for (service, letters) in &history.dead_letters {
        for letter in letters {
            check.wrong(|| format!("{service}: {letter}"));
        }
    }
    check
}
