//! Why a call to the database failed, and what that means for the transaction.

use super::settings::why;
use tokio_postgres::error::{DbError, Severity};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum CallError {
    #[error("{message} (SQLSTATE {code})")]
    Server { code: String, message: String, ends_session: bool },
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    #[error("the database has not answered within {} s", super::DEADLINE.as_secs())]
    Deadline,
    #[error("{0}")]
    Data(String),
    /// The program is at fault: the wrong number of values, say.
    #[error("{0}")]
    Program(String),
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Class {
    /// The data is at fault, and would be again.
    Data,
    /// Another transaction was in the way: the same one may succeed at once.
    Again,
    /// Another transaction holds what it waited for.
    Busy,
    /// The connection is of no more use.
    Lost,
    /// The server is at fault: a full disk, say.
    Moment,
    /// The program is at fault.
    Program,
}

impl CallError {
    pub(in crate::store) fn class(&self) -> Class {
        let (code, ends_session) = match self {
            Self::Server { code, ends_session, .. } => (code.as_str(), *ends_session),
            Self::Lost(_) | Self::Deadline => return Class::Lost,
            Self::Data(_) => return Class::Data,
            Self::Program(_) => return Class::Program,
        };
        match code {
            // The last two: what a statement returns has changed with the schema; it is prepared again.
            "40001" | "40P01" | "0A000" | "26000" => Class::Again,
            "55P03" => Class::Busy,
            // The server stops, or is a standby now, or has given up a session that was idle for too long.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25006" => Class::Lost,
            _ if ends_session => Class::Lost,
            _ => match &code[..code.len().min(2)] {
                "22" | "23" | "54" => Class::Data,
                "08" => Class::Lost,
                "53" | "55" | "57" | "58" | "XX" => Class::Moment,
                _ => Class::Program,
            },
        }
    }
}

impl From<tokio_postgres::Error> for CallError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            return db.into();
        }
        let is_io =
            std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
        if error.is_closed() || is_io { Self::Lost(why(&error)) } else { Self::Program(why(&error)) }
    }
}

impl From<&DbError> for CallError {
    fn from(error: &DbError) -> Self {
        let ends_session = matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        Self::Server {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            ends_session,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_known_by_its_code() {
        for (code, class) in [
            ("22021", Class::Data),
            ("23505", Class::Data),
            ("40001", Class::Again),
            ("40P01", Class::Again),
            ("55P03", Class::Busy),
            ("53100", Class::Moment),
            ("57014", Class::Moment),
            ("57P01", Class::Lost),
            ("25006", Class::Lost),
            ("08006", Class::Lost),
            ("42P01", Class::Program),
        ] {
            let error =
                CallError::Server { code: code.to_owned(), message: String::new(), ends_session: false };
            assert_eq!(error.class(), class, "{code}");
        }
        assert_eq!(
            (CallError::Deadline.class(), CallError::Lost(String::new()).class()),
            (Class::Lost, Class::Lost)
        );
    }
}
