//! The statements of one transaction.

use super::error::{CallError, Class};
use super::session::Shared;
use super::{Namespace, key_lock};
use crate::store::row::Content;
use crate::store::{SqlError, Value};
use bytes::BytesMut;
use futures_util::TryStreamExt;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::pin::pin;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, Row, Statement, Transaction};

/// How many rows are read at once where the reader may break.
const CHUNK: i32 = 256;

/// One transaction that is under way.
pub(in crate::store) struct PgTx<'a> {
    client: &'a Client,
    /// Where rows can be read in parts.
    portals: Option<&'a Transaction<'a>>,
    shared: &'a Shared,
    namespace: &'a Namespace,
    /// Whether a statement has failed, and the server refuses all others until a savepoint takes it back.
    is_aborted: Cell<bool>,
    /// The last failure but those of data and program.
    failure: Cell<Option<Class>>,
    changes: Cell<u64>,
    locked: RefCell<HashSet<i64>>,
}

impl std::fmt::Debug for PgTx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgTx")
    }
}

impl<'a> PgTx<'a> {
    pub(super) fn new(
        client: &'a Client,
        portals: Option<&'a Transaction<'a>>,
        shared: &'a Shared,
        namespace: &'a Namespace,
    ) -> Self {
        Self {
            client,
            portals,
            shared,
            namespace,
            is_aborted: Cell::new(false),
            failure: Cell::new(None),
            changes: Cell::new(0),
            locked: RefCell::default(),
        }
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.is_aborted.get()
    }

    /// Why the transaction may succeed another time.
    pub(super) fn failure(&self) -> Option<Class> {
        self.failure.get()
    }

    pub(in crate::store) fn changes(&self) -> u64 {
        self.changes.get()
    }

    pub(in crate::store) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, SqlError> {
        let changed = self
            .noted(self.prepared(sql, values).and_then(|(statement, bound)| {
                self.shared.call(self.client.execute_raw(&statement, &bound))
            }))?;
        self.changes.set(self.changes.get() + changed);
        Ok(changed)
    }

    /// All rows.
    pub(in crate::store) fn rows(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, SqlError> {
        let (rows, changed) = self.noted(self.prepared(sql, values).and_then(|(statement, bound)| {
            self.shared.call(async {
                let mut stream = pin!(self.client.query_raw(&statement, &bound).await?);
                let mut rows = Vec::new();
                while let Some(row) = stream.try_next().await? {
                    rows.push(row);
                }
                Ok((rows, stream.rows_affected()))
            })
        }))?;
        // The server counts the rows that are only read as well.
        if !sql.trim_start().starts_with("SELECT") {
            self.changes.set(self.changes.get() + changed.unwrap_or(0));
        }
        Ok(rows)
    }

    /// Passes rows to `take` until it breaks. Returns whether it never did.
    pub(in crate::store) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut take: impl FnMut(&Row) -> Result<ControlFlow<()>, SqlError>,
    ) -> Result<bool, SqlError> {
        let mut pass = |rows: &[Row]| {
            for row in rows {
                if take(row)?.is_break() {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let Some(portals) = self.portals else { return pass(&self.rows(sql, values)?) };
        let portal = self.noted(
            self.prepared(sql, values)
                .and_then(|(statement, bound)| self.shared.call(portals.bind_raw(&statement, &bound))),
        )?;
        loop {
            let rows = self.noted(self.shared.call(portals.query_portal(&portal, CHUNK)))?;
            if !pass(&rows)? {
                return Ok(false);
            }
            if rows.len() < CHUNK as usize {
                return Ok(true);
            }
        }
    }

    pub(in crate::store) fn lock(&self, key: &str) -> Result<(), SqlError> {
        let number = key_lock(self.namespace, key);
        if self.locked.borrow_mut().insert(number) {
            // What the function returns is no value that could be read.
            let sql = "SELECT 1 FROM pg_advisory_xact_lock($1)";
            let locked = self.rows(sql, &[Value::Int(number)]);
            if locked.is_err() {
                self.locked.borrow_mut().remove(&number);
            }
            locked?;
        }
        Ok(())
    }

    pub(in crate::store) fn savepoint(&self) -> Result<(), SqlError> {
        self.noted(self.shared.call(self.client.batch_execute("SAVEPOINT part")))
    }

    pub(in crate::store) fn keep(&self) -> Result<(), SqlError> {
        self.noted(self.shared.call(self.client.batch_execute("RELEASE part")))
    }

    /// Takes back all since the savepoint. Locks that were taken since then are released.
    pub(in crate::store) fn take_back(&self) -> Result<(), SqlError> {
        self.locked.borrow_mut().clear();
        self.noted(self.shared.call(self.client.batch_execute("ROLLBACK TO part; RELEASE part")))?;
        self.is_aborted.set(false);
        Ok(())
    }

    fn prepared<'v>(
        &self,
        sql: &str,
        values: &'v [Value<'v>],
    ) -> Result<(Statement, Vec<Bound<'v>>), CallError> {
        let statement = self.shared.prepared(self.client, sql)?;
        let expected = statement.params().len();
        if expected != values.len() {
            let text = format!("{} values for {expected} parameters: {sql}", values.len());
            return Err(CallError::Program(text));
        }
        for (at, (value, kind)) in values.iter().zip(statement.params()).enumerate() {
            if !fits(*value, kind) {
                // The value may be private.
                return Err(CallError::Data(format!("the value of ${} is no {kind}", at + 1)));
            }
        }
        Ok((statement, values.iter().copied().map(Bound).collect()))
    }

    fn noted<T>(&self, result: Result<T, CallError>) -> Result<T, SqlError> {
        result.map_err(|error| {
            self.is_aborted.set(true);
            let class = error.class();
            if !matches!(class, Class::Data | Class::Program) {
                self.failure.set(Some(class));
            }
            if class == Class::Again {
                self.shared.forget_statements();
            }
            SqlError::postgres(error)
        })
    }
}

/// Whether a parameter of this type can have the value.
fn fits(value: Value<'_>, kind: &Type) -> bool {
    match (value, kind) {
        (Value::Null, _) | (Value::Int(_), &Type::INT8) | (Value::Int(0 | 1), &Type::BOOL) => true,
        (Value::Int(value), &Type::INT4) => i32::try_from(value).is_ok(),
        (Value::Int(value), &Type::INT2) => i16::try_from(value).is_ok(),
        (Value::Text(_), kind) => <&str as ToSql>::accepts(kind),
        (Value::Int(_), _) => false,
    }
}

/// A value, in the type that the statement has for it.
#[derive(Debug)]
struct Bound<'a>(Value<'a>);

type Refused = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Bound<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Refused> {
        match (self.0, ty) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Int(value), &Type::INT8) => value.to_sql(ty, out),
            (Value::Int(value), &Type::INT4) => i32::try_from(value)?.to_sql(ty, out),
            (Value::Int(value), &Type::INT2) => i16::try_from(value)?.to_sql(ty, out),
            (Value::Int(value @ (0 | 1)), &Type::BOOL) => (value == 1).to_sql(ty, out),
            (Value::Text(text), _) if <&str as ToSql>::accepts(ty) => text.to_sql(ty, out),
            (_, ty) => Err(format!("the value is no {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Refused> {
        self.to_sql(ty, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }
}

/// What a column holds.
pub(in crate::store) fn cell(row: &Row, column: usize) -> Result<Content<'_>, SqlError> {
    let missing = || SqlError::postgres(CallError::Program(format!("the row has no column {column}")));
    let kind = row.columns().get(column).ok_or_else(missing)?.type_();
    let int = |value: Option<i64>| value.map_or(Content::Null, Content::Int);
    let read = match *kind {
        Type::INT8 => row.try_get(column).map(int),
        Type::INT4 => row.try_get(column).map(|value: Option<i32>| int(value.map(i64::from))),
        Type::INT2 => row.try_get(column).map(|value: Option<i16>| int(value.map(i64::from))),
        Type::BOOL => row.try_get(column).map(|value: Option<bool>| int(value.map(i64::from))),
        _ if <&str as FromSql<'_>>::accepts(kind) => {
            row.try_get(column).map(|text: Option<&str>| text.map_or(Content::Null, Content::Text))
        }
        _ => Ok(Content::Other("of another type")),
    };
    read.map_err(|error| SqlError::postgres(error.into()))
}
