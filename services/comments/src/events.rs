//! What the comments service does with each event.

use crate::domain::Comment;
use crate::store;
use kit::messaging::consumer::{ApplyError, Handler, Received};
use kit::messaging::{outbox, trace};
use kit::runtime::key_waiters::KeyWaiters;
use kit::store::Tx;
use shared::events::{NO_VERDICT, Status};
use shared::{Event, PostId, ServiceName};

#[derive(Debug)]
pub struct CommentEvents {
    /// Those who comment on posts that are not known yet.
    pub waiters: KeyWaiters<PostId>,
}

impl Handler for CommentEvents {
    type Pending = ();

    fn apply(&self, tx: &Tx<'_>, received: &Received<'_>, (): &mut ()) -> Result<(), ApplyError> {
        match received.event {
            Event::PostCreated(post) => store::add_post(tx, &post.id)?,
            // Its own events (this one and `CommentUpdated`) rebuild a lost store.
            Event::CommentCreated(created) => {
                let mut comment = Comment::created(created);
                // The services of the course send no time.
                comment.created_at = created.created_at.or(received.envelope.time);
                match store::find(tx, &created.id)? {
                    // A verdict arrived first: it stands, and the creation fills in the rest.
                    Some(known) if known.created_at.is_none() => {
                        comment.status = known.status;
                        comment.reason = known.reason;
                        comment.version = known.version;
                        store::save(tx, &comment)?;
                    }
                    Some(_) => {}
                    None => {
                        store::save(tx, &comment)?;
                    }
                }
            }
            Event::CommentModerated(verdict) => {
                if verdict.status == Status::Pending {
                    return Err(ApplyError::Poison(NO_VERDICT.to_owned()));
                }
                let known = store::find(tx, &verdict.id)?;
                let mut comment = known
                    .unwrap_or_else(|| Comment::placeholder(&verdict.id, &verdict.post_id, &verdict.content));
                if let Some(update) = comment.apply_verdict(verdict) {
                    store::save(tx, &comment)?;
                    outbox::publish_from_event(tx, &update.into(), received.envelope, received.now)?;
                } else {
                    let _span = trace::log_span(received.envelope, ServiceName::Comments).entered();
                    tracing::warn!(comment.id = %verdict.id, "ignored a verdict that contradicts the first one");
                }
            }
            Event::CommentUpdated(update) => {
                let known = store::find(tx, &update.id)?;
                let placeholder = || Comment::placeholder(&update.id, &update.post_id, &update.content);
                let mut comment = known.clone().unwrap_or_else(placeholder);
                comment.apply_update(update);
                // Nearly always it is known: then nothing has to reach the disk.
                if known.as_ref() != Some(&comment) {
                    store::save(tx, &comment)?;
                }
            }
        }
        Ok(())
    }

    fn after_commit(&self, applied: &[Event]) {
        self.waiters.wake(applied.iter().filter_map(|event| match event {
            Event::PostCreated(post) => Some(&post.id),
            Event::CommentCreated(_) | Event::CommentModerated(_) | Event::CommentUpdated(_) => None,
        }));
    }
}
