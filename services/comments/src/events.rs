//! What comments does with each event.

use crate::domain::Comment;
use crate::store;
use kit::messaging::consumer::{ApplyError, Handler, Received};
use kit::messaging::outbox;
use rusqlite::Connection;
use shared::Event;
use shared::events::Status;

/// Learns of posts, takes verdicts, and reads its own events to refill a lost store.
#[derive(Debug)]
pub struct CommentEvents;

impl Handler for CommentEvents {
    fn apply(&self, tx: &Connection, received: &Received<'_>) -> Result<(), ApplyError> {
        match received.event {
            Event::PostCreated(post) => store::add_post(tx, &post.id)?,
            Event::CommentCreated(created) => {
                let mut comment = Comment::created(created);
                match store::find(tx, &created.id)? {
                    // A verdict came first: it stands, and the rest is filled in.
                    Some(known) if known.created_at.is_none() => {
                        comment.status = known.status;
                        comment.reason = known.reason;
                        comment.version = known.version;
                        store::save(tx, &comment)?;
                    }
                    Some(_) => {}
                    None => store::save(tx, &comment)?,
                }
            }
            Event::CommentModerated(verdict) => {
                if verdict.status == Status::Pending {
                    return Err(ApplyError::Poison("a verdict must be approved or rejected".to_owned()));
                }
                let known = store::find(tx, &verdict.id)?;
                let mut comment =
                    known.unwrap_or_else(|| Comment::unseen(&verdict.id, &verdict.post_id, &verdict.content));
                if let Some(update) = comment.judge(verdict) {
                    store::save(tx, &comment)?;
                    outbox::publish_from_event(tx, &update.into(), received.envelope, received.now)?;
                } else {
                    tracing::warn!(comment.id = %verdict.id, "a second verdict says otherwise; the first one stands");
                }
            }
            Event::CommentUpdated(update) => {
                let known = store::find(tx, &update.id)?;
                let mut comment =
                    known.unwrap_or_else(|| Comment::unseen(&update.id, &update.post_id, &update.content));
                comment.recall(update);
                store::save(tx, &comment)?;
            }
        }
        Ok(())
    }
}
