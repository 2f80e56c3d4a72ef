//! A row of a query's result.

use super::SqlError;
use rusqlite::types::ValueRef;
use std::fmt::Display;
use std::str::FromStr;

/// A row. Columns are counted from 0.
pub struct Row<'a>(&'a rusqlite::Row<'a>);

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row")
    }
}

impl<'a> Row<'a> {
    pub(super) fn new(row: &'a rusqlite::Row<'a>) -> Self {
        Self(row)
    }

    /// An integer, as any type that has room for it.
    pub fn int<T: TryFrom<i64>>(&self, column: usize) -> Result<T, SqlError> {
        match self.0.get_ref(column)? {
            ValueRef::Integer(value) => in_range(column, value),
            other => Err(unexpected(column, "an integer", other)),
        }
    }

    /// An integer, or null.
    pub fn opt_int<T: TryFrom<i64>>(&self, column: usize) -> Result<Option<T>, SqlError> {
        match self.0.get_ref(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(value) => in_range(column, value).map(Some),
            other => Err(unexpected(column, "an integer", other)),
        }
    }

    /// A truth value, stored as 0 or 1, or the result of a condition.
    pub fn bool(&self, column: usize) -> Result<bool, SqlError> {
        self.int(column).map(|value: i64| value != 0)
    }

    /// Text, borrowed from the row.
    pub fn text(&self, column: usize) -> Result<&str, SqlError> {
        self.opt_text(column)?.ok_or_else(|| unexpected(column, "text", ValueRef::Null))
    }

    /// Text, or null.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, SqlError> {
        match self.0.get_ref(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(at(column, error)),
            },
            other => Err(unexpected(column, "text", other)),
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

fn unexpected(column: usize, expected: &str, found: ValueRef<'_>) -> SqlError {
    at(column, format_args!("{expected} was expected, not {}", found.data_type()))
}

fn at(column: usize, error: impl Display) -> SqlError {
    SqlError::data(format!("column {column}: {error}"))
}
