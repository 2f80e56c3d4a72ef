//! The store's errors as HTTP: 503 where retrying may help (a full disk, a busy writer), 500 where it does not.
//! Logged here, once; a panic was logged by the panic hook.

use super::ApiError;
use crate::store::{ReadError, SqlError, WriteError};
use shared::ProblemKind;

/// In seconds: a disk that is nearly full does not empty in a moment.
const DISK_RETRY_AFTER: u64 = 10;

impl From<WriteError<SqlError>> for ApiError {
    fn from(error: WriteError<SqlError>) -> Self {
        match error {
            WriteError::Busy | WriteError::Unavailable(_) => Self::new(ProblemKind::Unavailable),
            WriteError::Unknown(_) => Self::new(ProblemKind::Unavailable).detail(
                "it may have been stored: repeat the request with the same Idempotency-Key, and it is stored only once",
            ),
            // The detail is for whoever runs the site; the store has logged it, once.
            WriteError::DiskFloor { .. } => Self::new(ProblemKind::Unavailable)
                .detail("the disk of this service is nearly full: nothing was stored")
                .retry_after(DISK_RETRY_AFTER),
            WriteError::Panicked => Self::new(ProblemKind::Internal),
            WriteError::Rejected(error) => error.into(),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sql(error) => error.into(),
            ReadError::Stopped | ReadError::Unavailable(_) => Self::new(ProblemKind::Unavailable),
            ReadError::Panicked => Self::new(ProblemKind::Internal),
        }
    }
}

impl From<SqlError> for ApiError {
    fn from(error: SqlError) -> Self {
        tracing::error!(%error, "a statement failed");
        Self::new(if error.is_permanent() { ProblemKind::Internal } else { ProblemKind::Unavailable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn a_write_whose_outcome_is_not_known_says_how_to_find_out() {
        let error = ApiError::from(WriteError::Unknown("the connection was lost".to_owned()));
        let problem = error.problem().clone();
        let detail = problem.detail.unwrap_or_default();
        assert!(
            detail.contains("may have been stored") && detail.contains("same Idempotency-Key"),
            "{detail}"
        );
        assert!(!detail.contains("connection"), "how it is stored is nobody's business");
        let headers = error.into_response().headers().clone();
        assert_eq!((problem.status, &headers["retry-after"]), (503, &"1".parse().unwrap()));
    }

    #[test]
    fn a_panic_is_no_reason_to_try_again() {
        let status = |error: ApiError| error.problem().status;
        assert_eq!(status(ReadError::Panicked.into()), 500);
        assert_eq!(status(WriteError::Panicked.into()), 500);
        assert_eq!((status(ReadError::Stopped.into()), status(WriteError::Busy.into())), (503, 503));
    }
}
