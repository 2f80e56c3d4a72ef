//! Applying events to a store, inside one transaction.

use super::incoming::{Arrived, Incoming, Unreadable};
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
    /// The delivery cannot be read to its end: nothing of it is applied.
    Nothing,
}

/// Applies events to the store of one service, inside one transaction.
pub(super) struct Applier<'a, H: Handler> {
    me: ServiceName,
    handler: &'a H,
    now: Timestamp,
    /// What the handler has left of these to be written.
    pending: H::Pending,
    /// The events that the handler has applied, in order.
    pub(super) applied: Vec<Event>,
}

/// What is taken back where an event fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Savepoints {
    /// The whole delivery.
    OfDelivery,
    /// Only what that event has changed.
    OfEachEvent,
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

impl<'a, H: Handler> Applier<'a, H> {
    pub(super) fn new(me: ServiceName, handler: &'a H, now: Timestamp) -> Self {
        Self { me, handler, now, pending: H::Pending::default(), applied: Vec::new() }
    }

    /// Applies a delivery: each event once, in order. What cannot be applied is parked.
    ///
    /// A delivery that changed nothing but the cursor may be lost: the cursor is then behind what the bus was answered,
    /// and the bus delivers the events again, as after any crash.
    ///
    /// Nearly always every event can be applied, so none has a savepoint of its own: SQLite would copy each page again
    /// for each event. Where one fails, all of them are taken back and applied once more, each in its savepoint.
    pub(super) fn apply(
        &mut self,
        tx: &Connection,
        events: &mut Incoming,
    ) -> rusqlite::Result<(Applied, Durability)> {
        execute(tx, "SAVEPOINT delivery")?;
        let applied = self.apply_events(tx, events, Savepoints::OfDelivery)?;
        execute(tx, "RELEASE delivery")?;
        Ok(applied)
    }

    fn apply_events(
        &mut self,
        tx: &Connection,
        events: &mut Incoming,
        savepoints: Savepoints,
    ) -> rusqlite::Result<(Applied, Durability)> {
        let start = inbox::cursor(tx)?;
        let changes = tx.total_changes();
        let (mut cursor, mut last_id) = (start, None);
        let mut gap = false;
        // Nearly always nothing is parked: then no event needs to look up its key.
        let mut any_parked = dead_letters::any(tx)?;
        'delivery: for at in 0.. {
            let part = match events.part(at) {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(Unreadable) => {
                    self.take_back(tx)?;
                    return Ok((Applied::Nothing, Durability::Lazy));
                }
            };
            for Arrived { envelope, event: read_ahead } in part {
                match (envelope.sequence, &envelope.source, &envelope.id) {
                    (Some(sequence), _, _) => match inbox::decide(cursor, sequence) {
                        Decision::Apply => {
                            cursor = sequence;
                            last_id.clone_from(&envelope.id);
                        }
                        Decision::Skip => continue,
                        Decision::Rewind => {
                            gap = true;
                            break 'delivery;
                        }
                    },
                    (None, Some(source), Some(id)) if !inbox::first_time(tx, source, id)? => continue,
                    (None, _, _) => {}
                }
                if envelope.kind == EventDiscarded::TYPE {
                    // Its key's events are applied in savepoints of their own, which must not take back what came before.
                    if savepoints == Savepoints::OfDelivery && self.finish(tx)?.is_err() {
                        self.take_back(tx)?;
                        return self.apply_events(tx, events, Savepoints::OfEachEvent);
                    }
                    // Before any key is looked up: it must not wait behind the event that it discards.
                    self.repeat_discard(tx, envelope)?;
                    continue;
                }
                // An event for other services, or of a later version: nothing to do, even if its data is broken.
                if !envelope.kind.parse::<EventType>().is_ok_and(|kind| kind.concerns(self.me)) {
                    continue;
                }
                if any_parked && dead_letters::waits(tx, &envelope.key())? {
                    if !dead_letters::is_discarded(tx, envelope)? {
                        dead_letters::park(tx, &envelope.key(), envelope, dead_letters::WAITS, 0, self.now)?;
                    }
                    continue;
                }
                if savepoints == Savepoints::OfDelivery {
                    let event = read_ahead.take();
                    if self.run_handler(tx, envelope, event)?.is_err() {
                        self.take_back(tx)?;
                        return self.apply_events(tx, events, Savepoints::OfEachEvent);
                    }
                } else if let Err(poison) = self.apply_one(tx, envelope)?
                    && !dead_letters::is_discarded(tx, envelope)?
                {
                    dead_letters::park(tx, &envelope.key(), envelope, &poison.error, 1, self.now)?;
                    metrics::counter!("events_parked_total").increment(1);
                    any_parked = true;
                }
            }
        }
        if savepoints == Savepoints::OfDelivery && self.finish(tx)?.is_err() {
            self.take_back(tx)?;
            return self.apply_events(tx, events, Savepoints::OfEachEvent);
        }
        let durability = if tx.total_changes() == changes { Durability::Lazy } else { Durability::Now };
        if cursor != start {
            inbox::set_cursor(tx, cursor, last_id.as_deref())?;
        }
        Ok((if gap { Applied::Gap { cursor } } else { Applied::All { cursor } }, durability))
    }

    /// Takes back the whole delivery.
    fn take_back(&mut self, tx: &Connection) -> rusqlite::Result<()> {
        self.applied.clear();
        self.pending = H::Pending::default();
        execute(tx, "ROLLBACK TO delivery")
    }

    /// Applies one event in its own savepoint; the inner error says why it has to be parked. Nothing is pending before
    /// it or after it.
    fn apply_one(&mut self, tx: &Connection, envelope: &Envelope) -> rusqlite::Result<Result<(), Poison>> {
        let _span = trace::log_span(envelope, self.me).entered();
        execute(tx, "SAVEPOINT event")?;
        let applied_before = self.applied.len();
        let mut applied = self.run_handler(tx, envelope, None)?;
        if applied.is_ok() {
            applied = self.finish(tx)?;
        }
        if let Err(Poison { reason, .. }) = &applied {
            execute(tx, "ROLLBACK TO event")?;
            self.applied.truncate(applied_before);
            self.pending = H::Pending::default();
            let key = envelope.key();
            tracing::error!(event.type = %envelope.kind, event.id = envelope.id, key, reason, "an event cannot be applied");
        }
        execute(tx, "RELEASE event")?;
        Ok(applied)
    }

    /// Where the inner error says that the event has to be parked, what the handler wrote is still there.
    fn run_handler(
        &mut self,
        tx: &Connection,
        envelope: &Envelope,
        read_ahead: Option<Event>,
    ) -> rusqlite::Result<Result<(), Poison>> {
        let event = match read_ahead.map_or_else(|| envelope.event(), |event| Ok(Some(event))) {
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
        let received = Received { event: &event, envelope, now: self.now };
        let (handler, pending) = (self.handler, &mut self.pending);
        let outcome = guarded(|| handler.apply(tx, &received, pending))?;
        if outcome.is_ok() {
            self.applied.push(event);
        }
        Ok(outcome)
    }

    /// Lets the handler write what is pending; the inner error says why one of the events has to be parked.
    fn finish(&mut self, tx: &Connection) -> rusqlite::Result<Result<(), Poison>> {
        let pending = std::mem::take(&mut self.pending);
        guarded(|| self.handler.finish(tx, pending))
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

/// Runs the handler. What it refuses, and where it panics, the event is at fault.
fn guarded(run: impl FnOnce() -> Result<(), ApplyError>) -> rusqlite::Result<Result<(), Poison>> {
    let poison = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return Ok(Ok(())),
        Ok(Err(ApplyError::Store(error))) => return Err(error),
        Ok(Err(ApplyError::Poison(why))) => Poison::new("refused by the handler", why),
        Err(_) => Poison::new("panic in the handler", "the handler panicked"),
    };
    Ok(Err(poison))
}

fn execute(tx: &Connection, sql: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(sql)?.execute([]).map(drop)
}
