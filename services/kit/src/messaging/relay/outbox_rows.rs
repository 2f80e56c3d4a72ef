//! The rows of the outbox, as the relay reads them.

use super::place::Run;
use crate::store::{SqlError, Tx, values};
use std::ops::ControlFlow;

/// The most events in one publication.
pub(super) const BATCH_EVENTS: i64 = 256;
/// The most bytes in one publication, unless one event alone is larger.
const BATCH_BYTES: usize = 1024 * 1024;

/// What is to be published.
#[derive(Debug, Default)]
pub(super) struct Unpublished {
    /// The oldest rows that fit one publication: their places and envelopes.
    pub(super) rows: Vec<(i64, String)>,
    /// How many rows there are in all, at most. Counted by their places, and not one by one: the work must not grow with
    /// the outbox. Some places have no row: that of an event which was in the outbox already, and on an engine with several
    /// writers that of a write which failed.
    pub(super) depth: i64,
    /// Whether there are more rows than these.
    pub(super) has_more: bool,
}

/// The oldest rows after a place, without those that are published.
pub(super) fn oldest(tx: &Tx<'_>, after: i64, published: &[Run]) -> Result<Unpublished, SqlError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let limit = BATCH_EVENTS + 1 + published.iter().map(|run| run.rows()).sum::<i64>();
    let sql = "SELECT seq, envelope FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2";
    let is_all = tx.each(sql, values![after, limit], |row| {
        let seq = row.int(0)?;
        if published.iter().any(|run| run.has(seq)) {
            return Ok(ControlFlow::Continue(()));
        }
        let envelope = row.text(1)?;
        bytes += envelope.len();
        if rows.len() as i64 == BATCH_EVENTS || (bytes > BATCH_BYTES && !rows.is_empty()) {
            return Ok(ControlFlow::Break(()));
        }
        rows.push((seq, envelope.to_owned()));
        Ok(ControlFlow::Continue(()))
    })?;
    let Some(&(first, _)) = rows.first() else { return Ok(Unpublished::default()) };
    let last: i64 = tx.one("SELECT max(seq) FROM outbox", &[], |row| row.int(0))?;
    Ok(Unpublished { rows, depth: last - first + 1, has_more: !is_all })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::outbox::SCHEMA;
    use crate::store::Memory;

    #[test]
    fn one_publication_is_bounded_in_events_and_bytes() {
        let memory = Memory::new(&[&[SCHEMA]]);
        let tx = &memory.tx();
        let row = |id: i64, len: usize| {
            let sql = "INSERT INTO outbox (id, queued_at, envelope) VALUES ($1, 0, $2)";
            tx.execute(sql, values![&id.to_string(), &"x".repeat(len)]).unwrap();
        };
        let first = || oldest(tx, 0, &[]).unwrap().rows;
        row(0, BATCH_BYTES + 1);
        row(1, BATCH_BYTES / 2);
        row(2, BATCH_BYTES / 2 + 1);
        assert_eq!(first().len(), 1, "one that is too large goes alone");
        tx.execute("DELETE FROM outbox WHERE id = '0'", &[]).unwrap();
        assert_eq!(first().len(), 1);
        tx.execute("DELETE FROM outbox", &[]).unwrap();
        assert_eq!(oldest(tx, 0, &[]).unwrap().depth, 0);
        (0..=BATCH_EVENTS).for_each(|n| row(n, 10));
        let Unpublished { rows, depth, has_more } = oldest(tx, 0, &[]).unwrap();
        assert_eq!((rows.len() as i64, depth, has_more), (BATCH_EVENTS, BATCH_EVENTS + 1, true));
        let last = rows.last().unwrap().0;
        let rest = oldest(tx, last, &[]).unwrap();
        assert_eq!(
            (rest.rows.len(), rest.depth, rest.has_more),
            (1, 1, false),
            "what is published and still stored is not counted"
        );
        let skipped = oldest(tx, 0, &[Run { first: rows[0].0, last }]).unwrap();
        assert_eq!((skipped.rows, skipped.has_more), (rest.rows.clone(), false), "wherever it is read from");
        assert_eq!(oldest(tx, rest.rows[0].0, &[]).unwrap().depth, 0);
        assert!(rows.is_sorted());
    }
}
