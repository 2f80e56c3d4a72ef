//! `docs/EVENTS.md` is generated from the table of events; this test fails when the file is out of date.
//! `UPDATE_DOCS=1 cargo test -p shared --test catalogue` generates it.

use shared::events::{CommentCreated, CommentModerated, CommentUpdated, PostCreated, Status};
use shared::{Envelope, Event, EventType, Timestamp};
use std::fmt::Write;
use std::path::Path;

const INTRODUCTION: &str = "# Events

Every event of the system: its publisher, the services that act on it, and an example. Generated from the table in
`shared/src/events.rs` by `shared/tests/catalogue.rs`; do not edit by hand.

Each event has a CloudEvents 1.0 envelope. An event of only `{\"type\", \"data\"}` is accepted too: the bus fills in the rest.
The bus sets `sequence`, the place in the log. `correlationid` is the id of the first event of the chain, `causationid`
the id of the event that caused this one, `traceparent` the trace of the request at the beginning.

An event may gain optional fields; any other change is a new event with a new name, because logs are kept forever.

Beside the events of the table, the log holds `EventDiscarded`. A service publishes it when an operator discards one of
its dead letters, and only that service reads it: a lost store that is rebuilt discards the event again. Its data names the
discarded event: `{\"eventSource\": \"/posts\", \"eventId\": \"…\"}`.
";

/// An event of each kind, with every field.
fn example(event_type: EventType) -> Event {
    let at = Some(Timestamp::from_unix_ms(1_795_167_536_123));
    let (post, comment) = ("0197f00d-0000-7000-8000-000000000001", "0197f00d-0000-7000-8000-000000000002");
    let (post, comment) = (post.parse().unwrap(), comment.parse().unwrap());
    match event_type {
        EventType::PostCreated => PostCreated {
            id: post,
            title: "On apples".into(),
            body: "They *keep*.".into(),
            author: "Ada".into(),
            created_at: at,
            version: Some(1),
        }
        .into(),
        EventType::CommentCreated => CommentCreated {
            id: comment,
            content: "An orange!".into(),
            post_id: post,
            status: Status::Pending,
            author: "Bob".into(),
            author_key: Some("5e884898da28047151d0e56f8dc62927".into()),
            created_at: at,
            version: Some(1),
        }
        .into(),
        EventType::CommentModerated => CommentModerated {
            id: comment,
            content: "An orange!".into(),
            post_id: post,
            status: Status::Rejected,
            reason: Some("contains a blocked word".into()),
            rule: Some("blocked-word".into()),
        }
        .into(),
        EventType::CommentUpdated => CommentUpdated {
            id: comment,
            content: "An orange!".into(),
            post_id: post,
            status: Status::Rejected,
            reason: Some("contains a blocked word".into()),
            version: Some(2),
        }
        .into(),
    }
}

fn catalogue() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("\n| event | publisher | acted on by | meaning |\n|---|---|---|---|\n");
    for event_type in EventType::ALL {
        let consumers: Vec<_> = event_type.consumers().iter().map(|s| s.as_str()).collect();
        let (publisher, consumers) = (event_type.publisher(), consumers.join(", "));
        let anchor = event_type.as_str().to_lowercase();
        writeln!(
            text,
            "| [`{event_type}`](#{anchor}) | {publisher} | {consumers} | {} |",
            event_type.about()
        )
        .unwrap();
    }
    for event_type in EventType::ALL {
        let event = example(*event_type);
        let id = "0197f00d-0000-7000-8000-00000000000a".to_owned();
        let time = Timestamp::from_unix_ms(1_795_167_536_123);
        let mut envelope = Envelope::new(&event, id.clone(), time).unwrap();
        envelope.sequence = "7".parse().ok();
        envelope.correlationid = Some(id);
        let json = serde_json::to_string_pretty(&envelope).unwrap();
        write!(text, "\n## {event_type}\n\n{}\n\n```json\n{json}\n```\n", event_type.about()).unwrap();
    }
    text
}

#[test]
fn the_catalogue_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/EVENTS.md");
    let text = catalogue();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/EVENTS.md has drifted: run UPDATE_DOCS=1 cargo test -p shared --test catalogue"
    );
}
