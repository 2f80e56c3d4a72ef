//! A rule for the statements of a handler, checked in builds with debug assertions.
//!
//! For a statement that writes and returns rows SQLite keeps a journal, and when the statement ends it walks all that the
//! savepoint has journalled. A delivery is one savepoint: the cost of an event would grow with its delivery.

use super::Tx;
use rusqlite::CachedStatement;
use std::cell::Cell;

thread_local! {
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        IN_HANDLER.set(false);
    }
}

impl Tx<'_> {
    /// Runs a handler, on this thread.
    #[expect(clippy::unused_self, reason = "it is about the statements of this transaction")]
    pub(crate) fn in_handler<T>(&self, run: impl FnOnce() -> T) -> T {
        IN_HANDLER.set(true);
        // Also where it panics.
        let _entered = Entered;
        run()
    }
}

/// Whether a handler may run the statement.
pub(super) fn allows(statement: &CachedStatement<'_>) -> bool {
    !IN_HANDLER.get() || statement.readonly() || statement.column_count() == 0
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use crate::store::{Memory, SqlError};

    #[test]
    fn a_handler_reads_and_writes_and_never_both_in_one_statement() {
        let memory = Memory::new(&[&["CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT"]]);
        let tx = &memory.tx();
        let write = |n: i64| tx.execute("INSERT INTO t VALUES ($1)", values![n]);
        let read = || tx.query("SELECT n FROM t", &[], |row| row.int::<i64>(0));
        let both =
            |n: i64| tx.one("INSERT INTO t VALUES ($1) RETURNING n", values![n], |row| row.int::<i64>(0));
        tx.in_handler(|| {
            write(1)?;
            assert_eq!(read()?, [1]);
            Ok::<_, SqlError>(())
        })
        .unwrap();
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tx.in_handler(|| both(2))));
        let why = refused.unwrap_err().downcast::<String>().unwrap();
        assert!(why.contains("RETURNING: INSERT INTO t"), "{why}");
        assert_eq!(both(3).unwrap(), 3, "commands may");
    }
}
