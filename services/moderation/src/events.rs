//! What moderation does with each event.

use crate::domain::{Decision, Rules, Verdict};
use crate::store;
use kit::messaging::consumer::{ApplyError, Handler, Received};
use kit::messaging::outbox;
use kit::store::{SqlError, Tx};
use shared::events::{CommentCreated, CommentModerated, NO_VERDICT, Status};
use shared::{Envelope, Event, Timestamp};

#[derive(Debug)]
pub struct ModerationEvents {
    pub rules: Rules,
}

impl Handler for ModerationEvents {
    type Pending = ();

    fn apply(&self, tx: &Tx<'_>, received: &Received<'_>, (): &mut ()) -> Result<(), ApplyError> {
        match received.event {
            Event::CommentCreated(comment) => {
                // Already judged (this is a redrive, or a lost store is rebuilt): the verdict stands. It is published as
                // the same event as before, which the bus recognises.
                if let Some(verdict) = store::verdict(tx, &comment.id)? {
                    return Ok(record_verdict(tx, comment, verdict, received.envelope, received.now)?);
                }
                match self.rules.judge(&comment.author, &comment.content) {
                    Decision::Verdict(verdict) => {
                        record_verdict(tx, comment, verdict, received.envelope, received.now)?;
                    }
                    Decision::Hold(rule) => {
                        store::hold(tx, &comment.id, &rule, received.envelope, received.now)?;
                    }
                }
            }
            Event::CommentModerated(event) if event.status == Status::Pending => {
                return Err(ApplyError::Poison(NO_VERDICT.to_owned()));
            }
            // Its own events: they rebuild a lost store.
            Event::CommentModerated(event) => {
                let verdict =
                    Verdict { status: event.status, reason: event.reason.clone(), rule: event.rule.clone() };
                store::decide(tx, &event.id, &verdict)?;
            }
            Event::PostCreated(_) | Event::CommentUpdated(_) => {}
        }
        Ok(())
    }
}

/// Stores a verdict and puts its event into the outbox, in one transaction.
pub fn record_verdict(
    tx: &Tx<'_>,
    comment: &CommentCreated,
    verdict: Verdict,
    cause: &Envelope,
    now: Timestamp,
) -> Result<(), SqlError> {
    store::decide(tx, &comment.id, &verdict)?;
    let event = CommentModerated {
        id: comment.id.clone(),
        content: comment.content.clone(),
        post_id: comment.post_id.clone(),
        status: verdict.status,
        reason: verdict.reason,
        rule: verdict.rule,
    };
    outbox::publish_from_event(tx, &event.into(), cause, now)
}
