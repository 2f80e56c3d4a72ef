//! What posts does with each event.

use crate::store;
use kit::messaging::consumer::{ApplyError, Handler, Received};
use kit::store::Tx;
use shared::Event;
use shared::events::PostCreated;

#[derive(Debug)]
pub struct PostEvents;

impl Handler for PostEvents {
    type Pending = ();

    fn apply(&self, tx: &Tx<'_>, received: &Received<'_>, (): &mut ()) -> Result<(), ApplyError> {
        match received.event {
            // Its own events: they rebuild a lost store. The services of the course send no time.
            Event::PostCreated(post) => {
                let created_at = post.created_at.or(received.envelope.time);
                store::insert(tx, &PostCreated { created_at, ..post.clone() })?;
            }
            Event::CommentCreated(_) | Event::CommentModerated(_) | Event::CommentUpdated(_) => {}
        }
        Ok(())
    }
}
