//! The rows of the outbox, as the relay reads them.

use rusqlite::Connection;

/// The most events in one publication.
pub(super) const BATCH_EVENTS: i64 = 256;
/// The most bytes in one publication, unless one event alone is larger.
const BATCH_BYTES: usize = 1024 * 1024;

/// What is to be published.
#[derive(Debug, Default)]
pub(super) struct Unpublished {
    /// The oldest rows that fit one publication: their places and envelopes.
    pub(super) rows: Vec<(i64, String)>,
    /// How many rows there are in all. Counted by their places, which no row leaves out but one whose event was in the
    /// outbox already: the work must not grow with the outbox.
    pub(super) depth: i64,
}

/// The oldest rows after a place.
pub(super) fn oldest(c: &Connection, after: i64) -> rusqlite::Result<Unpublished> {
    let mut statement =
        c.prepare_cached("SELECT seq, envelope FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut found = statement.query([after, BATCH_EVENTS])?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let envelope: String = row.get(1)?;
        bytes += envelope.len();
        if bytes > BATCH_BYTES && !rows.is_empty() {
            break;
        }
        rows.push((row.get(0)?, envelope));
    }
    let Some(&(first, _)) = rows.first() else { return Ok(Unpublished::default()) };
    let last: i64 = c.prepare_cached("SELECT max(seq) FROM outbox")?.query_row([], |row| row.get(0))?;
    Ok(Unpublished { rows, depth: last - first + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::outbox::SCHEMA;

    #[test]
    fn one_publication_is_bounded_in_events_and_bytes() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(SCHEMA).unwrap();
        let row = |id: i64, len: usize| {
            let values = (id.to_string(), "x".repeat(len));
            c.execute("INSERT INTO outbox (id, queued_at, envelope) VALUES (?1, 0, ?2)", values).unwrap();
        };
        let first = || oldest(&c, 0).unwrap().rows;
        row(0, BATCH_BYTES + 1);
        row(1, BATCH_BYTES / 2);
        row(2, BATCH_BYTES / 2 + 1);
        assert_eq!(first().len(), 1, "one that is too large goes alone");
        c.execute("DELETE FROM outbox WHERE id = '0'", []).unwrap();
        assert_eq!(first().len(), 1);
        c.execute("DELETE FROM outbox", []).unwrap();
        assert_eq!(oldest(&c, 0).unwrap().depth, 0);
        (0..=BATCH_EVENTS).for_each(|n| row(n, 10));
        let Unpublished { rows, depth } = oldest(&c, 0).unwrap();
        assert_eq!((rows.len() as i64, depth), (BATCH_EVENTS, BATCH_EVENTS + 1));
        let rest = oldest(&c, rows.last().unwrap().0).unwrap();
        assert_eq!(
            (rest.rows.len(), rest.depth),
            (1, 1),
            "what is published and still stored is not counted"
        );
        assert_eq!(oldest(&c, rest.rows[0].0).unwrap().depth, 0);
        assert!(rows.is_sorted());
    }
}
