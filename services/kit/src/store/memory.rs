//! A database in memory, for tests of SQL.

use super::{Migration, STATEMENTS, Tx};
use rusqlite::Connection;

/// A database in memory. Nothing is committed in it: all statements run in one transaction.
#[derive(Debug)]
pub struct Memory(Connection);

impl Memory {
    /// With the tables of these migrations.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "it is for tests")]
    pub fn new(migrations: &[Migration]) -> Self {
        let connection = Connection::open_in_memory().unwrap();
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        for part in migrations.iter().copied().flatten() {
            connection.execute_batch(part).unwrap();
        }
        connection.execute_batch("BEGIN").unwrap();
        Self(connection)
    }

    /// Its transaction.
    pub fn tx(&self) -> Tx<'_> {
        Tx::new(&self.0)
    }
}
