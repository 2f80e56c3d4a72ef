//! Events to publish and deliver.

use shared::events::{CommentCreated, CommentModerated, CommentUpdated, PostCreated, Status};
use shared::{Envelope, Event, Sequence, Timestamp};

/// The time of the `n`th event: `n` seconds after a fixed moment.
pub fn at(n: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000 + n * 1000)
}

/// A post, created at [`at`]`(n)`.
pub fn post_created(id: &str, title: &str, n: i64) -> Event {
    PostCreated {
        id: id.parse().expect("an id"),
        title: title.to_owned(),
        body: String::new(),
        author: String::new(),
        created_at: Some(at(n)),
        version: Some(1),
    }
    .into()
}

/// A pending comment, created at [`at`]`(n)`.
pub fn comment_created(id: &str, post: &str, content: &str, n: i64) -> Event {
    CommentCreated {
        id: id.parse().expect("an id"),
        content: content.to_owned(),
        post_id: post.parse().expect("an id"),
        status: Status::Pending,
        author: String::new(),
        author_key: None,
        created_at: Some(at(n)),
        version: Some(1),
    }
    .into()
}

/// A verdict, with a reason if it rejects.
pub fn comment_moderated(id: &str, post: &str, content: &str, status: Status) -> Event {
    CommentModerated {
        id: id.parse().expect("an id"),
        content: content.to_owned(),
        post_id: post.parse().expect("an id"),
        status,
        reason: (status == Status::Rejected).then(|| "a reason".to_owned()),
        rule: None,
    }
    .into()
}

/// The new state of a comment after its verdict.
pub fn comment_updated(id: &str, post: &str, content: &str, status: Status) -> Event {
    CommentUpdated {
        id: id.parse().expect("an id"),
        content: content.to_owned(),
        post_id: post.parse().expect("an id"),
        status,
        reason: (status == Status::Rejected).then(|| "a reason".to_owned()),
        version: Some(2),
    }
    .into()
}

/// The event in an envelope, as its publisher sends it.
pub fn published(event: &Event, id: &str) -> Envelope {
    Envelope::new(event, id.to_owned(), at(0)).expect("an envelope")
}

/// The event as the bus delivers it, with this sequence.
pub fn logged(event: &Event, sequence: i64) -> Envelope {
    let mut envelope = published(event, &format!("event-{sequence}"));
    envelope.sequence = Some(Sequence::new(sequence));
    envelope
}

/// The events as the bus delivers them, with sequences from `first` on.
pub fn log_from(first: i64, events: &[Event]) -> Vec<Envelope> {
    (first..).zip(events).map(|(sequence, event)| logged(event, sequence)).collect()
}
