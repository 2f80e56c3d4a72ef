//! Applying events to a store, inside one transaction.

use super::{ApplyError, Handler, Received};
use crate::messaging::inbox::Decision;
use crate::messaging::{dead_letters, inbox};
use rusqlite::Connection;
use shared::bus::Redriven;
use shared::{Envelope, EventType, Sequence, ServiceName, Timestamp};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Every event is applied, parked, or was here before.
    All {
        /// The last event applied.
        cursor: Sequence,
    },
    /// An event is missing before one of these; those before the gap are applied.
    Gap {
        /// Where to go on from.
        cursor: Sequence,
    },
}

/// Applies a delivery to the store of the service `me`: each event once, in order, parking what cannot be applied.
pub fn apply(
    tx: &Connection,
    me: ServiceName,
    handler: &dyn Handler,
    events: &[Envelope],
    now: Timestamp,
) -> rusqlite::Result<Applied> {
    let start = inbox::cursor(tx)?;
    let (mut cursor, mut last_id) = (start, None);
    let mut gap = false;
    // Nearly always nothing waits: then no event needs to ask for its key.
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
        // Somebody else's event, or tomorrow's: nothing to do here, also where its data is broken.
        if !envelope.kind.parse::<EventType>().is_ok_and(|kind| kind.concerns(me)) {
            continue;
        }
        let key = envelope.key();
        if any_parked && dead_letters::waits(tx, &key)? {
            dead_letters::park(tx, &key, envelope, dead_letters::WAITS, 0, now)?;
        } else if let Err(poison) = apply_one(tx, handler, envelope, now)? {
            tracing::error!(event.type = %envelope.kind, event.id = envelope.id, key, error = %poison, "parked an event");
            metrics::counter!("events_parked_total").increment(1);
            dead_letters::park(tx, &key, envelope, &poison, 1, now)?;
            any_parked = true;
        }
    }
    if cursor != start {
        inbox::set_cursor(tx, cursor, last_id)?;
    }
    Ok(if gap { Applied::Gap { cursor } } else { Applied::All { cursor } })
}

/// Applies one event in a savepoint of its own; the inner error says why it has to be parked.
fn apply_one(
    tx: &Connection,
    handler: &dyn Handler,
    envelope: &Envelope,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    let event = match envelope.event() {
        Ok(Some(event)) => event,
        // It was known when it was parked; an older program cannot read it.
        Ok(None) => return Ok(Err(format!("{} is not known here", envelope.kind))),
        Err(bad) => return Ok(Err(bad.to_string())),
    };
    let publisher = event.event_type().publisher();
    if envelope.source.as_deref().is_some_and(|source| source != publisher.source()) {
        return Ok(Err(format!("{} is published by {publisher} alone", envelope.kind)));
    }
    let execute = |sql| tx.prepare_cached(sql)?.execute([]).map(drop);
    execute("SAVEPOINT event")?;
    let received = Received { event: &event, envelope, now };
    let result = catch_unwind(AssertUnwindSafe(|| handler.apply(tx, &received)))
        .unwrap_or_else(|_| Err(ApplyError::Poison("the handler panicked".to_owned())));
    match result {
        Ok(()) => {
            execute("RELEASE event")?;
            Ok(Ok(()))
        }
        Err(ApplyError::Store(error)) => Err(error),
        Err(ApplyError::Poison(why)) => {
            execute("ROLLBACK TO event")?;
            execute("RELEASE event")?;
            Ok(Err(why))
        }
    }
}

/// Redrives the key of a dead letter, after discarding that one if told so. Nothing if there is no such letter.
pub(super) fn settle(
    tx: &Connection,
    handler: &dyn Handler,
    id: i64,
    discard: bool,
    now: Timestamp,
) -> rusqlite::Result<Option<Redriven>> {
    let Some(key) = dead_letters::key_of(tx, id)? else { return Ok(None) };
    if discard {
        dead_letters::discard(tx, id, now)?;
    }
    let parked = dead_letters::of_key(tx, &key)?;
    let mut applied = 0;
    for letter in &parked {
        match apply_one(tx, handler, &letter.envelope, now)? {
            Ok(()) => dead_letters::applied(tx, letter.id)?,
            Err(why) => {
                dead_letters::failed_again(tx, letter.id, &why)?;
                break;
            }
        }
        applied += 1;
    }
    Ok(Some(Redriven { applied, remaining: parked.len() as u64 - applied }))
}
