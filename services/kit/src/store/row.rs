//! A row of a query's result.

use super::SqlError;
use rusqlite::types::ValueRef;
use std::fmt::Display;
use std::str::FromStr;

/// A row. Columns are counted from 0.
pub struct Row<'a>(Inner<'a>);

enum Inner<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    #[cfg(feature = "postgres")]
    Postgres(&'a tokio_postgres::Row),
}

/// What a column holds.
pub(super) enum Content<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    /// The name of its type.
    Other(&'a str),
}

impl Content<'_> {
    fn kind(&self) -> &str {
        match self {
            Self::Null => "Null",
            Self::Int(_) => "Integer",
            Self::Text(_) => "Text",
            Self::Other(kind) => kind,
        }
    }
}

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row")
    }
}

impl<'a> Row<'a> {
    pub(super) fn new(row: &'a rusqlite::Row<'a>) -> Self {
        Self(Inner::Sqlite(row))
    }

    #[cfg(feature = "postgres")]
    pub(super) fn postgres(row: &'a tokio_postgres::Row) -> Self {
        Self(Inner::Postgres(row))
    }

    fn cell(&self, column: usize) -> Result<Content<'_>, SqlError> {
        match self.0 {
            Inner::Sqlite(row) => Ok(match row.get_ref(column)? {
                ValueRef::Null => Content::Null,
                ValueRef::Integer(value) => Content::Int(value),
                ValueRef::Text(text) => {
                    Content::Text(std::str::from_utf8(text).map_err(|error| at(column, error))?)
                }
                ValueRef::Real(_) => Content::Other("Real"),
                ValueRef::Blob(_) => Content::Other("Blob"),
            }),
            #[cfg(feature = "postgres")]
            Inner::Postgres(row) => super::postgres::cell(row, column),
        }
    }

    /// An integer, as any type that has room for it.
    pub fn int<T: TryFrom<i64>>(&self, column: usize) -> Result<T, SqlError> {
        match self.cell(column)? {
            Content::Int(value) => in_range(column, value),
            other => Err(unexpected(column, "an integer", &other)),
        }
    }

    /// An integer, or null.
    pub fn opt_int<T: TryFrom<i64>>(&self, column: usize) -> Result<Option<T>, SqlError> {
        match self.cell(column)? {
            Content::Null => Ok(None),
            Content::Int(value) => in_range(column, value).map(Some),
            other => Err(unexpected(column, "an integer", &other)),
        }
    }

    /// A truth value, stored as 0 or 1, or the result of a condition.
    pub fn bool(&self, column: usize) -> Result<bool, SqlError> {
        self.int(column).map(|value: i64| value != 0)
    }

    /// Text, borrowed from the row.
    pub fn text(&self, column: usize) -> Result<&str, SqlError> {
        self.opt_text(column)?.ok_or_else(|| unexpected(column, "text", &Content::Null))
    }

    /// Text, or null.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, SqlError> {
        match self.cell(column)? {
            Content::Null => Ok(None),
            Content::Text(text) => Ok(Some(text)),
            other => Err(unexpected(column, "text", &other)),
        }
    }

    /// What is stored as text: an id, a status.
    pub fn parsed<T: FromStr<Err: Display>>(&self, column: usize) -> Result<T, SqlError> {
        self.text(column)?.parse().map_err(|error| at(column, error))
    }
}

fn in_range<T: TryFrom<i64>>(column: usize, value: i64) -> Result<T, SqlError> {
    T::try_from(value).map_err(|_| at(column, format_args!("{value} is out of range")))
}

fn unexpected(column: usize, expected: &str, found: &Content<'_>) -> SqlError {
    at(column, format_args!("{expected} was expected, not {}", found.kind()))
}

fn at(column: usize, error: impl Display) -> SqlError {
    SqlError::data(format!("column {column}: {error}"))
}
