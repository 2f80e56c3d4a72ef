//! Applying events to a store, inside one transaction.

use super::incoming::{Arrived, Incoming, Unreadable};
use super::{ApplyError, Handler, Received};
use crate::messaging::inbox::Decision;
use crate::messaging::{dead_letters, inbox, outbox, trace};
use crate::store::{Durability, SqlError, Tx};
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
    pub(super) outcome: Outcome,
}

/// What is to be made known once it is committed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The events that the handler has applied, in order.
    pub applied: Vec<Event>,
    /// How many events were parked because they failed.
    pub parked: u64,
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

/// Why an event was not applied.
enum Failed {
    Poison(Poison),
    Sql(SqlError),
}

impl Failed {
    fn new(reason: &'static str, error: impl ToString) -> Self {
        Self::Poison(Poison { reason, error: error.to_string() })
    }
}

impl From<SqlError> for Failed {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

/// Why a delivery was taken back.
enum TakenBack {
    /// To be applied once more, each event in a savepoint of its own.
    AnEventFailed,
    /// It cannot be read to its end.
    Unreadable,
    Sql(SqlError),
}

impl From<SqlError> for TakenBack {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<Failed> for TakenBack {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Poison(_) => Self::AnEventFailed,
            Failed::Sql(error) => Self::Sql(error),
        }
    }
}

impl<'a, H: Handler> Applier<'a, H> {
    pub(super) fn new(me: ServiceName, handler: &'a H, now: Timestamp) -> Self {
        Self { me, handler, now, pending: H::Pending::default(), outcome: Outcome::default() }
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
        tx: &Tx<'_>,
        events: &mut Incoming,
    ) -> Result<(Applied, Durability), SqlError> {
        let mut applied = tx.savepoint(|tx| self.apply_events(tx, events, Savepoints::OfDelivery));
        if let Err(TakenBack::AnEventFailed) = applied {
            self.forget();
            applied = tx.savepoint(|tx| self.apply_events(tx, events, Savepoints::OfEachEvent));
        }
        match applied {
            Ok(applied) => Ok(applied),
            Err(TakenBack::Sql(error)) => Err(error),
            Err(TakenBack::Unreadable | TakenBack::AnEventFailed) => {
                self.forget();
                Ok((Applied::Nothing, Durability::Lazy))
            }
        }
    }

    fn apply_events(
        &mut self,
        tx: &Tx<'_>,
        events: &mut Incoming,
        savepoints: Savepoints,
    ) -> Result<(Applied, Durability), TakenBack> {
        let start = inbox::cursor(tx)?;
        let changes = tx.changes();
        let (mut cursor, mut last_id) = (start, None);
        let mut gap = false;
        // Nearly always nothing is parked: then no event needs to look up its key.
        let mut any_parked = dead_letters::any(tx)?;
        'delivery: for at in 0.. {
            let part = match events.part(at) {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(Unreadable) => return Err(TakenBack::Unreadable),
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
                    if savepoints == Savepoints::OfDelivery {
                        self.finish(tx)?;
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
                    self.run_handler(tx, envelope, read_ahead.take())?;
                } else if let Err(poison) = self.apply_one(tx, envelope)?
                    && !dead_letters::is_discarded(tx, envelope)?
                {
                    dead_letters::park(tx, &envelope.key(), envelope, &poison.error, 1, self.now)?;
                    self.outcome.parked += 1;
                    any_parked = true;
                }
            }
        }
        if savepoints == Savepoints::OfDelivery {
            self.finish(tx)?;
        }
        let durability = if tx.changes() == changes { Durability::Lazy } else { Durability::Now };
        if cursor != start {
            inbox::set_cursor(tx, cursor, last_id.as_deref())?;
        }
        Ok((if gap { Applied::Gap { cursor } } else { Applied::All { cursor } }, durability))
    }

    /// Nothing is applied: all of it was taken back.
    fn forget(&mut self) {
        self.outcome = Outcome::default();
        self.pending = H::Pending::default();
    }

    /// Applies one event in its own savepoint; the inner error says why it has to be parked. Nothing is pending before
    /// it or after it.
    fn apply_one(&mut self, tx: &Tx<'_>, envelope: &Envelope) -> Result<Result<(), Poison>, SqlError> {
        let _span = trace::log_span(envelope, self.me).entered();
        let applied_before = self.outcome.applied.len();
        let applied = tx.savepoint(|tx| {
            self.run_handler(tx, envelope, None)?;
            self.finish(tx)
        });
        match applied {
            Ok(()) => Ok(Ok(())),
            Err(Failed::Sql(error)) => Err(error),
            Err(Failed::Poison(poison)) => {
                self.outcome.applied.truncate(applied_before);
                self.pending = H::Pending::default();
                let (key, reason) = (envelope.key(), poison.reason);
                tracing::error!(event.type = %envelope.kind, event.id = envelope.id, key, reason, "an event cannot be applied");
                Ok(Err(poison))
            }
        }
    }

    /// Where it fails, what the handler wrote is still there.
    fn run_handler(
        &mut self,
        tx: &Tx<'_>,
        envelope: &Envelope,
        read_ahead: Option<Event>,
    ) -> Result<(), Failed> {
        let event = match read_ahead.map_or_else(|| envelope.event(), |event| Ok(Some(event))) {
            Ok(Some(event)) => event,
            // Parked by a newer version that knew this type.
            Ok(None) => {
                return Err(Failed::new("unknown type", format!("{} is not known here", envelope.kind)));
            }
            Err(bad) => return Err(Failed::new("invalid data", bad)),
        };
        let publisher = event.event_type().publisher();
        if envelope.source.as_deref().is_some_and(|source| source != publisher.source()) {
            let error = format!("{} is published only by {publisher}", envelope.kind);
            return Err(Failed::new("wrong publisher", error));
        }
        // What the handler changes belongs to the event's post, and commands change it too.
        tx.lock(event.key().as_str())?;
        let received = Received { event: &event, envelope, now: self.now };
        let (handler, pending) = (self.handler, &mut self.pending);
        guarded(tx, || handler.apply(tx, &received, pending))?;
        self.outcome.applied.push(event);
        Ok(())
    }

    /// Lets the handler write what is pending.
    fn finish(&mut self, tx: &Tx<'_>) -> Result<(), Failed> {
        let pending = std::mem::take(&mut self.pending);
        guarded(tx, || self.handler.finish(tx, pending))
    }

    /// Redrives the key of a dead letter. `None` if no waiting dead letter has this id.
    pub(super) fn redrive(&mut self, tx: &Tx<'_>, id: i64) -> Result<Option<Redriven>, SqlError> {
        let Some((key, _)) = dead_letters::waiting(tx, id)? else { return Ok(None) };
        self.redrive_key(tx, &key).map(Some)
    }

    /// Discards a dead letter, publishes that, and redrives the rest of its key. `None` if no waiting dead letter has
    /// this id.
    pub(super) fn discard(&mut self, tx: &Tx<'_>, id: i64) -> Result<Option<Redriven>, SqlError> {
        let Some((key, envelope)) = dead_letters::waiting(tx, id)? else { return Ok(None) };
        dead_letters::discard(tx, id, self.now)?;
        outbox::publish_discard(tx, self.me, &envelope, self.now)?;
        self.redrive_key(tx, &key).map(Some)
    }

    /// Applies a discard that this service published. The store that it was made in has it already; one that is rebuilt
    /// has parked the event, and the events behind it, once more.
    fn repeat_discard(&mut self, tx: &Tx<'_>, envelope: &Envelope) -> Result<(), SqlError> {
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
    fn redrive_key(&mut self, tx: &Tx<'_>, key: &str) -> Result<Redriven, SqlError> {
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
fn guarded(tx: &Tx<'_>, run: impl FnOnce() -> Result<(), ApplyError>) -> Result<(), Failed> {
    match catch_unwind(AssertUnwindSafe(|| tx.in_handler(run))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(ApplyError::Store(error))) => Err(Failed::Sql(error)),
        Ok(Err(ApplyError::Poison(why))) => Err(Failed::new("refused by the handler", why)),
        Err(_) => Err(Failed::new("panic in the handler", "the handler panicked")),
    }
}
