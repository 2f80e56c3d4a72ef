//! Applying events to a store, inside one transaction.

use super::{ApplyError, Handler, Received};
use crate::messaging::inbox::Decision;
use crate::messaging::{dead_letters, inbox, outbox, trace};
use crate::store::Durability;
use rusqlite::Connection;
use shared::bus::Redriven;
use shared::events::EventDiscarded;
use shared::{Envelope, Event, EventType, Sequence, ServiceName, Timestamp};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The outcome of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// Every event was applied or parked, now or earlier.
    All {
        /// The last event applied.
        cursor: Sequence,
    },
    /// An event is missing before one of these; those before the gap are applied.
    Gap {
        /// The last event applied.
        cursor: Sequence,
    },
}

/// Applies events to the store of one service, inside one transaction.
pub(super) struct Applier<'a> {
    me: ServiceName,
    handler: &'a dyn Handler,
    now: Timestamp,
    /// The events that the handler has applied, in order.
    pub(super) applied: Vec<Event>,
}

/// Why an event is parked.
struct Poison {
    /// The kind of fault, for logs. The error may quote the event's text, which logs must not hold.
    reason: &'static str,
    /// The whole error, only for the operator.
    error: String,
}

impl Poison {
    fn new(reason: &'static str, error: impl ToString) -> Self {
        Self { reason, error: error.to_string() }
    }
}

impl<'a> Applier<'a> {
    pub(super) fn new(me: ServiceName, handler: &'a dyn Handler, now: Timestamp) -> Self {
        Self { me, handler, now, applied: Vec::new() }
    }
}

impl Applier<'_> {
    /// Applies a delivery: each event once, in order. What cannot be applied is parked.
    ///
    /// A delivery that changed nothing but the cursor may be lost: the cursor is then behind what the bus was answered,
    /// and the bus delivers the events again, as after any crash.
    pub(super) fn apply(
        &mut self,
        tx: &Connection,
        events: &[Envelope],
    ) -> rusqlite::Result<(Applied, Durability)> {
        let start = inbox::cursor(tx)?;
        let changes = tx.total_changes();
        let (mut cursor, mut last_id) = (start, None);
        let mut gap = false;
        // Nearly always nothing is parked: then no event needs to look up its key.
        let mut any_parked = dead_letters::any(tx)?;
        for envelope in events {
            match (envelope.sequence, &envelope.source, &envelope.id) {
                (Some(sequence), _, _) => match inbox::decide(cursor, sequence) {
                    Decision::Apply => (cursor, last_id) = (sequence, envelope.id.as_deref()),
                    Decision::Skip => continue,
                    Decision::Rewind => {
                        gap = true;
                        break;
                    }
                },
                (None, Some(source), Some(id)) if !inbox::first_time(tx, source, id)? => continue,
                (None, _, _) => {}
            }
            if envelope.kind == EventDiscarded::TYPE {
                // Before any key is looked up: it must not wait behind the event that it discards.
                self.repeat_discard(tx, envelope)?;
                continue;
            }
            // An event for other services, or of a later version: nothing to do, even if its data is broken.
            if !envelope.kind.parse::<EventType>().is_ok_and(|kind| kind.concerns(self.me)) {
                continue;
            }
            let key = envelope.key();
            if any_parked && dead_letters::waits(tx, &key)? {
                if !dead_letters::is_discarded(tx, envelope)? {
                    dead_letters::park(tx, &key, envelope, dead_letters::WAITS, 0, self.now)?;
                }
            } else if let Err(poison) = self.apply_one(tx, envelope)?
                && !dead_letters::is_discarded(tx, envelope)?
            {
                dead_letters::park(tx, &key, envelope, &poison.error, 1, self.now)?;
                metrics::counter!("events_parked_total").increment(1);
                any_parked = true;
            }
        }
        let durability = if tx.total_changes() == changes { Durability::Lazy } else { Durability::Now };
        if cursor != start {
            inbox::set_cursor(tx, cursor, last_id)?;
        }
        Ok((if gap { Applied::Gap { cursor } } else { Applied::All { cursor } }, durability))
    }

    /// Applies one event in its own savepoint; the inner error says why it has to be parked.
    fn apply_one(&mut self, tx: &Connection, envelope: &Envelope) -> rusqlite::Result<Result<(), Poison>> {
        let _span = trace::span(envelope, self.me).map(|span| {
            let span_id = format!("{:016x}", span.parent_id);
            tracing::info_span!("event", trace_id = span.trace_id_hex(), span_id).entered()
        });
        let applied = self.run_handler(tx, envelope)?;
        if let Err(Poison { reason, .. }) = &applied {
            let key = envelope.key();
            tracing::error!(event.type = %envelope.kind, event.id = envelope.id, key, reason, "an event cannot be applied");
        }
        Ok(applied)
    }

    fn run_handler(&mut self, tx: &Connection, envelope: &Envelope) -> rusqlite::Result<Result<(), Poison>> {
        let event = match envelope.event() {
            Ok(Some(event)) => event,
            // Parked by a newer version that knew this type.
            Ok(None) => {
                return Ok(Err(Poison::new("unknown type", format!("{} is not known here", envelope.kind))));
            }
            Err(bad) => return Ok(Err(Poison::new("invalid data", bad))),
        };
        let publisher = event.event_type().publisher();
        if envelope.source.as_deref().is_some_and(|source| source != publisher.source()) {
            let error = format!("{} is published only by {publisher}", envelope.kind);
            return Ok(Err(Poison::new("wrong publisher", error)));
        }
        let execute = |sql| tx.prepare_cached(sql)?.execute([]).map(drop);
        execute("SAVEPOINT event")?;
        let received = Received { event: &event, envelope, now: self.now };
        let poison = match catch_unwind(AssertUnwindSafe(|| self.handler.apply(tx, &received))) {
            Ok(Ok(())) => {
                execute("RELEASE event")?;
                self.applied.push(event);
                return Ok(Ok(()));
            }
            Ok(Err(ApplyError::Store(error))) => return Err(error),
            Ok(Err(ApplyError::Poison(why))) => Poison::new("refused by the handler", why),
            Err(_) => Poison::new("panic in the handler", "the handler panicked"),
        };
        execute("ROLLBACK TO event")?;
        execute("RELEASE event")?;
        Ok(Err(poison))
    }

    /// Redrives the key of a dead letter. `None` if no waiting dead letter has this id.
    pub(super) fn redrive(&mut self, tx: &Connection, id: i64) -> rusqlite::Result<Option<Redriven>> {
        let Some((key, _)) = dead_letters::waiting(tx, id)? else { return Ok(None) };
        self.redrive_key(tx, &key).map(Some)
    }

    /// Discards a dead letter, publishes that, and redrives the rest of its key. `None` if no waiting dead letter has
    /// this id.
    pub(super) fn discard(&mut self, tx: &Connection, id: i64) -> rusqlite::Result<Option<Redriven>> {
        let Some((key, envelope)) = dead_letters::waiting(tx, id)? else { return Ok(None) };
        dead_letters::discard(tx, id, self.now)?;
        outbox::publish_discard(tx, self.me, &envelope, self.now)?;
        self.redrive_key(tx, &key).map(Some)
    }

    /// Applies a discard that this service published. The store that it was made in has it already; one that is rebuilt
    /// has parked the event, and the events behind it, once more.
    fn repeat_discard(&mut self, tx: &Connection, envelope: &Envelope) -> rusqlite::Result<()> {
        if envelope.source.as_deref() != Some(self.me.source()) {
            return Ok(());
        }
        let Ok(EventDiscarded { event_source, event_id }) = serde_json::from_str(envelope.data.get()) else {
            tracing::error!(event.id = envelope.id, "a discard cannot be read: skipped");
            return Ok(());
        };
        match dead_letters::find(tx, &event_source, &event_id)? {
            Some(letter) if letter.discarded => {}
            Some(letter) => {
                dead_letters::discard(tx, letter.id, envelope.time.unwrap_or(self.now))?;
                let redriven = self.redrive_key(tx, &letter.key)?;
                tracing::info!(
                    event.id = event_id,
                    applied = redriven.applied,
                    remaining = redriven.remaining,
                    "discarded an event again, as the log says"
                );
            }
            None => {
                tracing::warn!(
                    event.id = event_id,
                    "a discarded event is not parked: this version could apply it"
                );
            }
        }
        Ok(())
    }

    /// Applies the waiting events of a key in order, up to the first that fails again.
    fn redrive_key(&mut self, tx: &Connection, key: &str) -> rusqlite::Result<Redriven> {
        let parked = dead_letters::of_key(tx, key)?;
        let mut applied = 0;
        for letter in &parked {
            match self.apply_one(tx, &letter.envelope)? {
                Ok(()) => dead_letters::applied(tx, letter.id)?,
                Err(poison) => {
                    dead_letters::failed_again(tx, letter.id, &poison.error)?;
                    break;
                }
            }
            applied += 1;
        }
        Ok(Redriven { applied, remaining: parked.len() as u64 - applied })
    }
}
