//! The read model against a plain fold of the log, which is written here again, independently of query.

use super::Check;
use crate::faults::history::{History, Logged};
use serde_json::{Value, json};
use shared::EventType::{CommentCreated, CommentModerated, CommentUpdated, PostCreated};
use shared::Timestamp;
use std::collections::BTreeMap;

/// The column of a post's row with its excerpt: a function of the body, which query alone computes.
const EXCERPT: usize = 8;
/// The column of a post's row with the number of its approved comments.
const APPROVED: usize = 9;

/// The rows of the read model, in the order in which query writes them, without excerpts.
fn fold(log: &[Logged]) -> Vec<Value> {
    let (mut posts, mut comments) = (BTreeMap::new(), BTreeMap::new());
    for event in log {
        let id = event.text("id");
        // An event of another system changes nothing.
        let Some(kind) = event.kind else { continue };
        match kind {
            PostCreated => {
                let (title, body, author) = (event.text("title"), event.text("body"), event.text("author"));
                let row = json!([
                    "post",
                    id,
                    title,
                    body,
                    author,
                    unix_ms(event),
                    event.sequence,
                    version(event),
                    null,
                    0
                ]);
                posts.entry(id).or_insert(row);
            }
            CommentCreated => {
                let (post, author) = (event.text("postId"), event.text("author"));
                let (key, content) = (event.data["authorKey"].clone(), event.text("content"));
                let row = json!([
                    "comment",
                    id,
                    post,
                    1,
                    unix_ms(event),
                    event.sequence,
                    author,
                    key,
                    version(event),
                    "pending",
                    content,
                    null
                ]);
                comments.entry(id).or_insert(row);
            }
            CommentUpdated => {
                // The log is in order, so there is a row to change.
                if let Some(row) = comments.get_mut(id) {
                    row[8] = version(event);
                    row[9] = event.data["status"].clone();
                    row[10] = event.data["content"].clone();
                    row[11] = event.data["reason"].clone();
                }
            }
            // The comment shows the verdict once it has been updated.
            CommentModerated => {}
        }
    }
    for comment in comments.values().filter(|row| row[9] == "approved") {
        if let Some(row) = comment[2].as_str().and_then(|post| posts.get_mut(post)) {
            row[APPROVED] = json!(row[APPROVED].as_u64().unwrap_or(0) + 1);
        }
    }
    posts.into_values().chain(comments.into_values()).collect()
}

/// A row of query's dump, for comparison with [`fold`].
fn held(line: &str) -> Value {
    let mut row = serde_json::from_str(line).unwrap_or_else(|e| json!(format!("{line}: {e}")));
    if row[0] == "post" && row[EXCERPT].is_string() {
        row[EXCERPT] = Value::Null;
    }
    row
}

fn unix_ms(event: &Logged) -> i64 {
    event.text("createdAt").parse().map_or(0, Timestamp::unix_ms)
}

fn version(event: &Logged) -> Value {
    event.data["version"].clone()
}

pub(super) fn rebuilt(history: &History) -> Check {
    let mut check = Check::new(
        "the read model is byte-identical to one rebuilt from the log alone",
        format!("{} bytes", history.read_model.len()),
    );
    if history.read_model != history.rebuilt {
        let mut pairs = history.read_model.lines().zip(history.rebuilt.lines());
        let first = pairs.find(|(before, after)| before != after);
        let (before, after) = (history.read_model.len(), history.rebuilt.len());
        check.wrong(|| format!("{before} bytes became {after}; the first rows that differ: {first:?}"));
    }
    check
}

pub(super) fn folded(history: &History) -> Check {
    let rows = fold(&history.log);
    let mut check = Check::new("the read model is a plain fold of the log", format!("{} rows", rows.len()));
    let held: Vec<Value> = history.read_model.lines().map(held).collect();
    if held.len() != rows.len() {
        check.wrong(|| format!("query has {} rows", held.len()));
    }
    for (held, row) in held.iter().zip(&rows).filter(|(held, row)| held != row) {
        check.wrong(|| format!("query has {held}, the log comes to {row}"));
    }
    check
}
