//! The answers to writers, against the log and the stores.

use super::Check;
use crate::faults::history::{History, Logged};
use crate::faults::ledger::{Outcome, What, Write};
use shared::EventType::{CommentCreated, CommentModerated, CommentUpdated, PostCreated};
use std::collections::{BTreeMap, BTreeSet};

/// Every creation in the log, by its text, which is unique to a write.
fn creations(history: &History) -> BTreeMap<&str, Vec<&Logged>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in &history.log {
        let text = match event.kind {
            Some(PostCreated) => event.text("title"),
            Some(CommentCreated) => event.text("content"),
            Some(CommentModerated | CommentUpdated) | None => continue,
        };
        found.entry(text).or_default().push(event);
    }
    found
}

/// How often the store has what this event created.
fn in_store(event: &Logged, history: &History) -> usize {
    let id = event.text("id");
    if event.kind == Some(PostCreated) {
        usize::from(history.posts.get(id).is_some_and(|title| title == event.text("title")))
    } else {
        let comments = history.comments.get(event.post());
        comments.map_or(0, |all| all.iter().filter(|(known, _)| known == id).count())
    }
}

/// Whether the event has the type and the post of the write.
fn fits(event: &Logged, what: &What) -> bool {
    match what {
        What::Post => event.kind == Some(PostCreated),
        What::Comment(post) => event.kind == Some(CommentCreated) && event.post() == post,
    }
}

/// The id in the answer to a writer.
fn acknowledged_id(write: &Write) -> Option<&str> {
    match &write.outcome {
        Outcome::Acknowledged(id) => Some(id),
        Outcome::Refused(_) | Outcome::Unknown => None,
    }
}

pub(super) fn acknowledged(writes: &[Write], history: &History) -> Check {
    let found = creations(history);
    let acknowledged: Vec<_> =
        writes.iter().filter_map(|write| Some((write, acknowledged_id(write)?))).collect();
    let mut check = Check::new(
        "acknowledged writes are once in the log and once in the service's store",
        format!("{} writes", acknowledged.len()),
    );
    for (write, id) in acknowledged {
        let events = found.get(write.text.as_str()).into_iter().flatten();
        let events: Vec<_> = events.filter(|event| event.text("id") == id).collect();
        match events[..] {
            [event] if !fits(event, &write.what) => {
                check.wrong(|| format!("{write:?} is something else in the log: {event:?}"));
            }
            [event] => {
                let times = in_store(event, history);
                if times != 1 {
                    check.wrong(|| format!("{write:?} is {times} times in the store"));
                }
            }
            _ => check.wrong(|| format!("{write:?} is {} times in the log", events.len())),
        }
    }
    check
}

pub(super) fn unanswered(writes: &[Write], history: &History) -> Check {
    let mut by_text: BTreeMap<&str, Vec<&Write>> = BTreeMap::new();
    for write in writes {
        by_text.entry(&write.text).or_default().push(write);
    }
    let unanswered = writes.iter().filter(|write| acknowledged_id(write).is_none()).count();
    let mut check = Check::new(
        "no write exists twice: unanswered ones once or not at all, refused ones not at all",
        format!("{unanswered} writes"),
    );
    for (text, events) in creations(history) {
        let Some(writes) = by_text.get(text) else { continue };
        let untold =
            |event: &&&Logged| !writes.iter().any(|write| acknowledged_id(write) == Some(event.text("id")));
        let others: Vec<_> = events.iter().filter(untold).collect();
        let unknown: Vec<_> = writes.iter().filter(|write| write.outcome == Outcome::Unknown).collect();
        if others.len() > unknown.len() {
            check.wrong(|| format!("too many events for {writes:?}: {others:?}"));
        } else if let Some(event) =
            others.iter().find(|e| !fits(e, &writes[0].what) || in_store(e, history) != 1)
        {
            check.wrong(|| format!("of {writes:?} the log has this event, and the store differs: {event:?}"));
        }
    }
    check
}

pub(super) fn nothing_else(writes: &[Write], history: &History) -> Check {
    let mut check = Check::new(
        "nothing exists that nobody wrote, and the stores match the log",
        format!("{} posts and the comments under them", history.posts.len()),
    );
    let texts: BTreeSet<_> = writes.iter().map(|write| write.text.as_str()).collect();
    let found = creations(history);
    for (text, events) in &found {
        if !texts.contains(text) {
            check.wrong(|| format!("nobody wrote {:?}", events[0]));
        }
    }
    let ids: BTreeSet<_> = found.values().flatten().map(|event| (event.post(), event.text("id"))).collect();
    let posts = history.posts.keys().map(|id| (id.as_str(), id.as_str()));
    let comments = history.comments.iter();
    let comments =
        comments.flat_map(|(post, all)| all.iter().map(move |(id, _)| (post.as_str(), id.as_str())));
    for place in posts.chain(comments) {
        if !ids.contains(&place) {
            check.wrong(|| format!("in a store and not in the log: {place:?} (post, id)"));
        }
    }
    check
}
