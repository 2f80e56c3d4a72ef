//! What the query service does with each event.

use crate::domain::{Comment, Post};
use crate::store::{self, Pending};
use kit::messaging::consumer::{ApplyError, Handler, Received};
use kit::messaging::inbox;
use kit::runtime::key_waiters::KeyWaiters;
use kit::store::{SqlError, Tx};
use shared::{CommentId, Event, PostId};

/// What a request may wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Awaited {
    Post(PostId),
    Comment(CommentId),
}

#[derive(Debug)]
pub struct QueryEvents {
    /// Woken when what they wait for is known.
    pub waiters: KeyWaiters<Awaited>,
}

impl Handler for QueryEvents {
    type Pending = Pending;

    fn apply(&self, tx: &Tx<'_>, received: &Received<'_>, pending: &mut Pending) -> Result<(), ApplyError> {
        match received.event {
            Event::PostCreated(event) => {
                if store::merge_post(tx, pending, Post::created(event, received.envelope))? {
                    note_change(tx, pending, received, &event.id, None)?;
                }
            }
            Event::CommentCreated(event) => {
                if store::merge_comment(tx, pending, Comment::created(event, received.envelope))? {
                    note_change(tx, pending, received, &event.post_id, Some(&event.id))?;
                }
            }
            Event::CommentUpdated(event) => {
                if store::merge_comment(tx, pending, Comment::updated(event))? {
                    note_change(tx, pending, received, &event.post_id, Some(&event.id))?;
                }
            }
            // CommentUpdated carries the result of a verdict.
            Event::CommentModerated(_) => {}
        }
        Ok(())
    }

    fn finish(&self, tx: &Tx<'_>, pending: Pending) -> Result<(), ApplyError> {
        pending.write(tx).map_err(ApplyError::from)
    }

    fn after_commit(&self, applied: &[Event]) {
        self.waiters.wake(applied.iter().filter_map(|event| match event {
            Event::PostCreated(event) => Some(Awaited::Post(event.id.clone())),
            Event::CommentCreated(event) => Some(Awaited::Comment(event.id.clone())),
            Event::CommentUpdated(event) => Some(Awaited::Comment(event.id.clone())),
            Event::CommentModerated(_) => None,
        }));
    }
}

fn note_change(
    tx: &Tx<'_>,
    pending: &mut Pending,
    received: &Received<'_>,
    post_id: &PostId,
    comment_id: Option<&CommentId>,
) -> Result<(), SqlError> {
    let sequence = match received.envelope.sequence {
        Some(sequence) => sequence,
        // An event without a sequence is noted under the present cursor, so that clients that resume receive it.
        None => inbox::cursor(tx)?,
    };
    pending.changes.note(sequence, post_id, comment_id);
    Ok(())
}
