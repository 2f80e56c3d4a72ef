//! Incoming events: which to apply, which to skip, and where the gaps are.
//!
//! The cursor is the sequence of the last event applied. It changes in the same transaction as the data that the event
//! changes: both are stored or neither is.

use crate::store::{SqlError, Tx, values};
use shared::Sequence;

/// The inbox's tables, for a service's first migration.
pub const SCHEMA: &str = "
    CREATE TABLE cursor (
        stream TEXT PRIMARY KEY,
        seq INTEGER NOT NULL,
        id TEXT
    ) STRICT, WITHOUT ROWID;
    -- The events that came without a sequence (sent by hand, or by a simpler bus), so that each is applied once.
    CREATE TABLE inbox (
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        PRIMARY KEY (source, id)
    ) STRICT, WITHOUT ROWID;
";

/// The row of the cursor, for a later migration: there is a row to lock before the first event.
pub const CURSOR_ROW: &str = "
    INSERT INTO cursor (stream, seq, id) VALUES ('events', 0, NULL) ON CONFLICT DO NOTHING;
";

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is the next one.
    Apply,
    /// It was applied already: acknowledge it and do nothing.
    Skip,
    /// Events before it are missing: answer with the cursor.
    Rewind,
}

/// Decides about the event at `sequence` for a consumer that has applied everything up to `cursor`.
pub fn decide(cursor: Sequence, sequence: Sequence) -> Decision {
    if sequence <= cursor {
        Decision::Skip
    } else if sequence == cursor.next() {
        Decision::Apply
    } else {
        Decision::Rewind
    }
}

/// The sequence of the last event applied.
pub fn cursor(tx: &Tx<'_>) -> Result<Sequence, SqlError> {
    tx.one("SELECT seq FROM cursor WHERE stream = 'events'", &[], |row| row.int(0).map(Sequence::new))
}

/// The id of the last event applied, if it had one.
pub fn last_id(tx: &Tx<'_>) -> Result<Option<String>, SqlError> {
    let sql = "SELECT id FROM cursor WHERE stream = 'events'";
    tx.one(sql, &[], |row| Ok(row.opt_text(0)?.map(str::to_owned)))
}

/// Moves the cursor to an event.
pub fn set_cursor(tx: &Tx<'_>, cursor: Sequence, id: Option<&str>) -> Result<(), SqlError> {
    let sql = "UPDATE cursor SET seq = $1, id = $2 WHERE stream = 'events'";
    tx.execute(sql, values![cursor.get(), id]).map(drop)
}

/// Records an event without a sequence; returns whether it is new.
pub fn first_time(tx: &Tx<'_>, source: &str, id: &str) -> Result<bool, SqlError> {
    let sql = "INSERT INTO inbox (source, id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, values![source, id])? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_next_event_is_applied(cursor in 0..1_000_i64, sequence in 1..1_000_i64) {
            let decision = decide(Sequence::new(cursor), Sequence::new(sequence));
            prop_assert_eq!(decision == Decision::Apply, sequence == cursor + 1);
            prop_assert_eq!(decision == Decision::Skip, sequence <= cursor);
        }

        #[test]
        fn whatever_arrives_every_event_is_applied_once_and_in_order(arrivals in prop::collection::vec(1..20_i64, 0..200)) {
            let (mut cursor, mut applied) = (Sequence::START, vec![]);
            for n in arrivals {
                if decide(cursor, Sequence::new(n)) == Decision::Apply {
                    applied.push(n);
                    cursor = Sequence::new(n);
                }
            }
            prop_assert_eq!(&applied, &(1..=applied.len() as i64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn there_is_a_cursor_before_the_first_event_and_one_of_an_earlier_version_stays() {
        const EARLIER: &str = "INSERT INTO cursor VALUES ('events', 7, 'seven')";
        let at = |migration| {
            let memory = Memory::new(&[migration]);
            let tx = &memory.tx();
            (cursor(tx).unwrap().get(), last_id(tx).unwrap())
        };
        assert_eq!(at(&[SCHEMA, CURSOR_ROW]), (0, None));
        assert_eq!(at(&[SCHEMA, EARLIER, CURSOR_ROW]), (7, Some("seven".to_owned())));
    }

    #[test]
    fn the_cursor_and_the_inbox_remember() {
        let memory = Memory::new(&[&[SCHEMA, CURSOR_ROW]]);
        let tx = &memory.tx();
        assert_eq!(cursor(tx).unwrap(), Sequence::START);
        assert_eq!(last_id(tx).unwrap(), None);
        set_cursor(tx, Sequence::new(7), Some("seven")).unwrap();
        assert_eq!(last_id(tx).unwrap().as_deref(), Some("seven"));
        set_cursor(tx, Sequence::new(8), None).unwrap();
        assert_eq!((cursor(tx).unwrap(), last_id(tx).unwrap()), (Sequence::new(8), None));
        assert!(first_time(tx, "/posts", "1").unwrap());
        assert!(!first_time(tx, "/posts", "1").unwrap());
        assert!(first_time(tx, "/comments", "1").unwrap());
    }
}
