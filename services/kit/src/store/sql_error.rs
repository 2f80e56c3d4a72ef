//! Why a statement failed, whatever the database.

#[cfg(feature = "postgres")]
use super::postgres::{CallError, Class};
use rusqlite::{ErrorCode, ffi};
use std::error::Error;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SqlError(#[source] Cause);

/// Also found where an error passes a [`SqlError`] through: those that are transparent show only its source.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(CallError),
    #[error(transparent)]
    Data(Box<dyn Error + Send + Sync>),
    #[error("a statement that always returns a row has returned none")]
    NoRow,
    #[error("the parameters are not $1, $2, … in the order of their first appearance: {0}")]
    Parameters(String),
}

impl SqlError {
    /// What was to be stored, or is stored, is at fault: JSON that cannot be read, say.
    pub fn data(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Cause::Data(error.into()))
    }

    /// Whether it comes from the data (it will come again), and not from the disk or the moment (it may go away).
    pub fn is_permanent(&self) -> bool {
        match &self.0 {
            Cause::Data(_) => true,
            Cause::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) => matches!(
                failure.code,
                ErrorCode::ConstraintViolation
                    | ErrorCode::TypeMismatch
                    | ErrorCode::TooBig
                    | ErrorCode::ParameterOutOfRange
            ),
            #[cfg(feature = "postgres")]
            Cause::Postgres(error) => error.class() == Class::Data,
            Cause::Sqlite(_) | Cause::NoRow | Cause::Parameters(_) => false,
        }
    }

    #[cfg(feature = "postgres")]
    pub(super) fn postgres(error: CallError) -> Self {
        Self(Cause::Postgres(error))
    }

    /// Whether the connection to the database is lost.
    #[cfg(feature = "postgres")]
    pub(super) fn is_lost(&self) -> bool {
        matches!(&self.0, Cause::Postgres(error) if error.class() == Class::Lost)
    }

    pub(super) fn no_row() -> Self {
        Self(Cause::NoRow)
    }

    pub(super) fn parameters(sql: &str) -> Self {
        Self(Cause::Parameters(sql.to_owned()))
    }

    /// A full or failing disk may end the whole transaction, and not just the statement.
    pub(super) fn transaction_ended() -> Self {
        Self::sqlite(ffi::SQLITE_FULL, "the disk is full or failing")
    }

    /// One of SQLite's own, with the reason that it stands for.
    pub(crate) fn sqlite(code: i32, why: impl Into<String>) -> Self {
        Self(Cause::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(why.into()))))
    }

    /// Whether the disk is failing or the file is damaged.
    pub(super) fn ends_the_store(&self) -> bool {
        self.0.ends_the_store()
    }

    /// The text of the error that ends the store, where this error was caused by one.
    pub(super) fn failure_in(error: &(dyn Error + 'static)) -> Option<String> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(cause) = error.downcast_ref::<Cause>() {
                return cause.ends_the_store().then(|| cause.to_string());
            }
            next = error.source();
        }
        None
    }

    /// Whether the disk or the machine is at fault, so that the same write may succeed later.
    pub(super) fn is_of_the_moment(&self) -> bool {
        #[cfg(feature = "postgres")]
        if let Cause::Postgres(error) = &self.0 {
            return !matches!(error.class(), Class::Data | Class::Program);
        }
        matches!(
            self.code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::OutOfMemory
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
            )
        )
    }

    pub(super) fn code(&self) -> Option<ErrorCode> {
        self.0.code()
    }
}

impl Cause {
    fn code(&self) -> Option<ErrorCode> {
        let Self::Sqlite(error) = self else { return None };
        error.sqlite_error_code()
    }

    fn ends_the_store(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        // SQLite calls it an I/O error where a full disk has no room for the index of the WAL.
        if error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_IOERR_SHMSIZE) {
            return Self::sqlite(ffi::SQLITE_FULL, "the disk is full");
        }
        Self(Cause::Sqlite(error))
    }
}
