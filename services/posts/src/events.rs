//! What posts does with each event.

use crate::store;
use kit::messaging::consumer::{ApplyError, Handler, Received};
use rusqlite::Connection;
use shared::Event;

/// Reads its own events, to refill a lost store; the others are not its business.
#[derive(Debug)]
pub struct PostEvents;

impl Handler for PostEvents {
    fn apply(&self, tx: &Connection, received: &Received<'_>) -> Result<(), ApplyError> {
        match received.event {
            Event::PostCreated(post) => Ok(store::insert(tx, post)?),
            Event::CommentCreated(_) | Event::CommentModerated(_) | Event::CommentUpdated(_) => Ok(()),
        }
    }
}
