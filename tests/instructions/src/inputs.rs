//! What the paths are given: texts of the usual kind and length.

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::events::{CommentCreated, PostCreated, Status};
use shared::{Envelope, Event, Sequence, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::NOW;

/// A comment of 100 characters.
pub const TEXT: &str =
    "What a long way to get there. I would have taken the other road, but then nobody would have met her.";

/// A post's text in Markdown, with most of what Markdown has.
pub fn markdown() -> String {
    let section = "## A heading\n\nSome *words* with `code`, a [link](https://example.com/?a=1&b=2) and **more of them**, \
                   until the paragraph is as long as most are.\n\n- one\n- two <b>bold</b>\n\n> said somebody\n\n\
                   ```rust\nfn main() {}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n";
    section.repeat(20)
}

fn envelope(event: &Event, sequence: i64) -> Envelope {
    let id = format!("0199e3a0-0000-7000-8000-{sequence:012}");
    let mut envelope = Envelope::new(event, id, Timestamp::from_unix_ms(NOW)).expect("an envelope");
    envelope.sequence = Some(Sequence::new(sequence));
    envelope
}

/// Ten posts and nine comments on each, as the bus delivers them; the `n`-th such batch of the log, from 0 on.
pub fn batch(n: i64) -> Vec<Envelope> {
    (n * 100 + 1..=n * 100 + 100).map(|sequence| envelope(&event(sequence), sequence)).collect()
}

fn event(sequence: i64) -> Event {
    let post = (sequence - 1) / 10;
    let post_id = format!("post-{post}").parse().expect("an id");
    let created_at = Some(Timestamp::from_unix_ms(NOW + sequence));
    if (sequence - 1) % 10 == 0 {
        let (title, author) = (format!("Post number {post}"), "Ada".to_owned());
        let body = "Some **words** about it.".repeat(10);
        return PostCreated { id: post_id, title, body, author, created_at, version: Some(1) }.into();
    }
    CommentCreated {
        id: format!("comment-{sequence}").parse().expect("an id"),
        content: TEXT.to_owned(),
        post_id,
        status: Status::Pending,
        author: "Grace".to_owned(),
        author_key: None,
        created_at,
        version: Some(1),
    }
    .into()
}

/// A query service: a first page of 20 posts that is never the same, and a post with 50 comments, whose text is the same
/// or, under every id that begins with `new`, another one.
pub fn query() -> Router {
    static CHANGES: AtomicU64 = AtomicU64::new(0);
    let posts = async || {
        let change = CHANGES.fetch_add(1, Ordering::Relaxed);
        let item = |n: u64| {
            json!({
                "id": format!("post-{n}"), "title": format!("Post number {n}"), "author": "Ada", "excerpt": TEXT,
                "createdAt": "2026-11-20T09:38:56.123Z", "version": 1, "commentCount": change % 90 + 10
            })
        };
        Json(json!({ "items": (10..30).map(item).collect::<Vec<_>>(), "next": "12~b2", "sequence": "7" }))
    };
    Router::new().route("/posts", get(posts)).route("/query/posts/{id}", get(thread))
}

async fn thread(Path(id): Path<String>) -> Json<Value> {
    let comment = |n: u64| {
        json!({
            "id": format!("comment-{n}"), "content": TEXT, "status": "approved", "author": "Grace", "version": 2,
            "createdAt": "2026-11-20T09:38:56.123Z"
        })
    };
    Json(json!({
        "id": id, "title": "The title of the post", "body": markdown(), "author": "Ada",
        "createdAt": "2026-11-20T09:38:56.123Z", "version": 1,
        "comments": (10..60).map(comment).collect::<Vec<_>>(), "earlier": "5~5~c5", "later": null,
        "commentCount": 120, "sequence": "7"
    }))
}
