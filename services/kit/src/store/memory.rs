//! A database in memory, for tests of SQL.

use super::{Migration, STATEMENTS, Schema, Tx};
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

    /// Panics unless the present tables are those that the history makes.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "it is for tests")]
    pub fn compare(schema: &Schema) {
        let present = Connection::open_in_memory().unwrap();
        for part in schema.present {
            present.execute_batch(part).unwrap();
        }
        assert_eq!(tables(&present), tables(&Self::new(schema.history).0));
    }

    /// Its transaction.
    pub fn tx(&self) -> Tx<'_> {
        Tx::new(&self.0)
    }
}

/// All columns and indexes, each a line.
#[expect(clippy::unwrap_used, reason = "it is for tests")]
fn tables(connection: &Connection) -> Vec<String> {
    let sql = "
        SELECT 'column', m.name || '.' || c.name, c.type, c.\"notnull\", c.pk, c.dflt_value, ''
            FROM sqlite_master m, pragma_table_xinfo(m.name) c WHERE m.type = 'table'
        UNION ALL
        SELECT 'index', m.name || '.' || i.seqno, l.name, l.\"unique\", l.partial, coalesce(x.name, ''), coalesce(m2.sql, '')
            FROM sqlite_master m, pragma_index_list(m.name) l, pragma_index_xinfo(l.name) i
            LEFT JOIN pragma_table_xinfo(m.name) x ON x.cid = i.cid
            LEFT JOIN sqlite_master m2 ON m2.name = l.name
            WHERE m.type = 'table'
        ORDER BY 1, 2, 3";
    let mut statement = connection.prepare(sql).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let line: Vec<String> = (0..7).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
        all.push(line.join(" "));
    }
    all
}
