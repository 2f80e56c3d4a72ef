//! One transaction, for those who write a service's SQL. Nothing here names a database.
//!
//! # The SQL
//!
//! A service's statements are written so that PostgreSQL could run them as they are:
//!
//! - Parameters are `$1`, `$2`, … in the order of their first appearance. A build with debug assertions checks it.
//! - An integer has 64 bits; a truth value is stored as 0 or 1.
//! - A number that the database gives to a new row comes from `RETURNING`. Rows have no `rowid`. Not in a [`Handler`](crate::messaging::consumer::Handler): there
//!   each such statement takes SQLite as long as all that the delivery has changed before it.
//! - `ON CONFLICT … DO UPDATE` names its columns; columns in its `WHERE` are written with the table's name. No `INSERT OR REPLACE`.
//! - `IS NOT DISTINCT FROM` compares what may be null; `IS` is only for `NULL`.
//! - No JSON functions: what is searched has a column.
//! - An error ends the transaction, unless it leaves a [`Tx::savepoint`].
//!
//! Two things are only for SQLite, and may use more: migrations, and the read model of query.

#[cfg(feature = "postgres")]
use super::postgres::PgTx;
use super::{Row, SqlError};
use rusqlite::{CachedStatement, Connection};
use std::ops::ControlFlow;

/// A value that is bound to a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
}

/// Each also where it may be missing.
macro_rules! value_from {
    ($($given:ty, $value:ident => $bound:expr);+ $(;)?) => {$(
        impl<'a> From<$given> for Value<'a> {
            fn from($value: $given) -> Self {
                $bound
            }
        }

        impl<'a> From<Option<$given>> for Value<'a> {
            fn from(value: Option<$given>) -> Self {
                value.map_or(Self::Null, Self::from)
            }
        }
    )+};
}

value_from! {
    i64, value => Self::Int(value);
    u32, value => Self::Int(value.into());
    bool, value => Self::Int(value.into());
    &'a str, text => Self::Text(text);
    &'a String, text => Self::Text(text);
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        text.as_deref().into()
    }
}

/// The values of a statement's parameters: `values![id.as_str(), &title, None::<i64>]`.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::Value::from($value)),*]
    };
}

/// A transaction of the writer, or the snapshot of a reader.
///
/// Statements are prepared once for each connection: write them as constants, and never put a value into their text.
#[derive(Debug)]
pub struct Tx<'a>(Inner<'a>);

#[derive(Debug)]
enum Inner<'a> {
    Sqlite(&'a Connection),
    #[cfg(feature = "postgres")]
    Postgres(&'a PgTx<'a>),
}

impl<'a> Tx<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self(Inner::Sqlite(connection))
    }

    #[cfg(feature = "postgres")]
    pub(super) fn postgres(tx: &'a PgTx<'a>) -> Self {
        Self(Inner::Postgres(tx))
    }
}

impl Tx<'_> {
    /// Runs a statement that returns no rows; returns how many it changed.
    pub fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, SqlError> {
        match self.0 {
            Inner::Sqlite(connection) => Ok(prepared(connection, sql, values)?.raw_execute()? as u64),
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => tx.execute(sql, values),
        }
    }

    /// All rows.
    pub fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut all = Vec::new();
        match self.0 {
            Inner::Sqlite(connection) => {
                let mut statement = prepared(connection, sql, values)?;
                let mut rows = statement.raw_query();
                while let Some(row) = rows.next()? {
                    all.push(read(&Row::new(row))?);
                }
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => {
                for row in tx.rows(sql, values)? {
                    all.push(read(&Row::postgres(&row))?);
                }
            }
        }
        Ok(all)
    }

    /// The first row, if there is one.
    pub fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        match self.0 {
            Inner::Sqlite(connection) => {
                let mut statement = prepared(connection, sql, values)?;
                let mut rows = statement.raw_query();
                rows.next()?.map(|row| read(&Row::new(row))).transpose()
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => {
                tx.rows(sql, values)?.first().map(|row| read(&Row::postgres(row))).transpose()
            }
        }
    }

    /// The row of a statement that always returns one.
    pub fn one<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.first(sql, values, read)?.ok_or_else(SqlError::no_row)
    }

    /// Passes rows to `take` until it breaks; the rest is not read. Returns whether it never did.
    pub fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut take: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, SqlError>,
    ) -> Result<bool, SqlError> {
        match self.0 {
            Inner::Sqlite(connection) => {
                let mut statement = prepared(connection, sql, values)?;
                let mut rows = statement.raw_query();
                while let Some(row) = rows.next()? {
                    if take(&Row::new(row))?.is_break() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => tx.each(sql, values, |row| take(&Row::postgres(row))),
        }
    }

    /// Runs `f`; where it fails, what it has written is taken back, and the transaction goes on.
    pub fn savepoint<T, E: From<SqlError>>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        match self.0 {
            Inner::Sqlite(connection) => {
                self.execute("SAVEPOINT part", &[])?;
                let result = f(self);
                // The error that has ended the whole transaction is more than that there is nothing to take back.
                if result.is_err() && connection.is_autocommit() {
                    return result;
                }
                if result.is_err() {
                    self.execute("ROLLBACK TO part", &[])?;
                }
                self.execute("RELEASE part", &[])?;
                result
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => {
                tx.savepoint()?;
                match f(self) {
                    // Where an error inside was passed over, this fails.
                    Ok(value) => tx.keep().map(|()| value).map_err(E::from),
                    // The first error is the cause where the connection is lost.
                    Err(error) => match tx.take_back() {
                        Ok(()) => Err(error),
                        Err(lost) if lost.is_lost() => Err(error),
                        Err(other) => Err(other.into()),
                    },
                }
            }
        }
    }

    /// Waits for every other write that changes what belongs to this key, until the transaction ends. Only for the
    /// consumer: a command has its key's lock already ([`super::Guard::Key`]). Costs nothing on SQLite, which has one writer.
    pub fn lock(&self, key: &str) -> Result<(), SqlError> {
        match self.0 {
            Inner::Sqlite(_) => {
                let _ = key;
                Ok(())
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => tx.lock(key),
        }
    }

    /// How many rows were changed by this connection's statements up to now.
    pub(crate) fn changes(&self) -> u64 {
        match self.0 {
            Inner::Sqlite(connection) => connection.total_changes(),
            #[cfg(feature = "postgres")]
            Inner::Postgres(tx) => tx.changes(),
        }
    }

    /// For tests of what only SQLite has.
    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        match self.0 {
            Inner::Sqlite(connection) => connection,
            #[cfg(feature = "postgres")]
            Inner::Postgres(_) => panic!("this transaction is not SQLite's"),
        }
    }
}

fn prepared<'c>(
    connection: &'c Connection,
    sql: &str,
    values: &[Value<'_>],
) -> Result<CachedStatement<'c>, SqlError> {
    let mut statement = connection.prepare_cached(sql)?;
    // Otherwise it would be committed by itself.
    if !statement.readonly() && connection.is_autocommit() {
        return Err(SqlError::transaction_ended());
    }
    if cfg!(debug_assertions) {
        check_parameters(&statement, sql)?;
    }
    let expected = statement.parameter_count();
    if expected != values.len() {
        return Err(rusqlite::Error::InvalidParameterCount(values.len(), expected).into());
    }
    for (at, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, value)?;
    }
    Ok(statement)
}

/// SQLite numbers the parameters in the order in which they come, whatever their names are.
fn check_parameters(statement: &CachedStatement<'_>, sql: &str) -> Result<(), SqlError> {
    let in_order = |at: usize| statement.parameter_name(at).is_some_and(|name| *name == format!("${at}"));
    let all = (1..=statement.parameter_count()).all(in_order);
    if all { Ok(()) } else { Err(SqlError::parameters(sql)) }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

#[cfg(test)]
mod tests;
