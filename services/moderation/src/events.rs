//! What moderation does with each event.

use crate::domain::{Decision, Rules, Verdict};
use crate::store;
use kit::messaging::consumer::{ApplyError, Handler, Received};
use kit::messaging::outbox;
use rusqlite::Connection;
use shared::events::{CommentCreated, CommentModerated, Status};
use shared::{Envelope, Event, Timestamp};

/// Judges new comments, and reads its own verdicts to refill a lost store.
#[derive(Debug)]
pub struct ModerationEvents {
    /// The rules.
    pub rules: Rules,
}

impl Handler for ModerationEvents {
    fn apply(&self, tx: &Connection, received: &Received<'_>) -> Result<(), ApplyError> {
        match received.event {
            Event::CommentCreated(comment) => {
                // Judged before (this is a redrive, or the log is read anew): the verdict stands, and is said again
                // in the same event, which the bus knows.
                if let Some(verdict) = store::verdict(tx, &comment.id)? {
                    return Ok(announce(tx, comment, verdict, received.envelope, received.now)?);
                }
                match self.rules.judge(&format!("{}\n{}", comment.author, comment.content)) {
                    Decision::Verdict(verdict) => {
                        announce(tx, comment, verdict, received.envelope, received.now)?;
                    }
                    Decision::Hold(rule) => {
                        store::hold(tx, &comment.id, &rule, received.envelope, received.now)?;
                    }
                }
            }
            Event::CommentModerated(said) if said.status == Status::Pending => {
                return Err(ApplyError::Poison("a verdict must be approved or rejected".to_owned()));
            }
            Event::CommentModerated(said) => {
                let verdict =
                    Verdict { status: said.status, reason: said.reason.clone(), rule: said.rule.clone() };
                store::decide(tx, &said.id, &verdict)?;
            }
            Event::PostCreated(_) | Event::CommentUpdated(_) => {}
        }
        Ok(())
    }
}

/// Notes a verdict and tells it, in one transaction.
pub fn announce(
    tx: &Connection,
    comment: &CommentCreated,
    verdict: Verdict,
    cause: &Envelope,
    now: Timestamp,
) -> rusqlite::Result<()> {
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
