//! Reads: each in one snapshot.

use super::Namespace;
use super::error::CallError;
use super::session::Session;
use super::transaction::PgTx;
use super::worker::{Line, Work};
use crate::store::{ReadError, SqlError, Tx};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;
use tokio_postgres::IsolationLevel;

/// A read, with whoever waits for it.
pub(super) trait ReadJob: Send {
    fn run(self: Box<Self>, line: &mut Line);
    fn refuse(self: Box<Self>, why: &str);
}

impl Work for Box<dyn ReadJob> {
    fn run(self, line: &mut Line) {
        ReadJob::run(self, line);
    }

    fn refuse(self, why: &str) {
        ReadJob::refuse(self, why);
    }
}

struct Read<T, F> {
    f: F,
    reply: oneshot::Sender<Result<T, ReadError>>,
}

pub(super) fn job<T, F>(f: F, reply: oneshot::Sender<Result<T, ReadError>>) -> Box<dyn ReadJob>
where
    F: FnOnce(&Tx<'_>) -> Result<T, SqlError> + Send + 'static,
    T: Send + 'static,
{
    Box::new(Read { f, reply })
}

impl<T, F> ReadJob for Read<T, F>
where
    F: FnOnce(&Tx<'_>) -> Result<T, SqlError> + Send,
    T: Send,
{
    fn run(self: Box<Self>, line: &mut Line) {
        let Self { f, reply } = *self;
        // A reader that has left needs no answer.
        let _ = reply.send(read(line, f));
    }

    fn refuse(self: Box<Self>, why: &str) {
        let _ = self.reply.send(Err(ReadError::Unavailable(why.to_owned())));
    }
}

fn read<T>(line: &mut Line, f: impl FnOnce(&Tx<'_>) -> Result<T, SqlError>) -> Result<T, ReadError> {
    let namespace = line.namespace().clone();
    let mut has_tried = false;
    loop {
        let session = line.session().map_err(|error| ReadError::Unavailable(error.to_string()))?;
        let Session { client, shared, .. } = session;
        let begin = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start();
        let transaction = match shared.call(begin) {
            Ok(transaction) => transaction,
            // A connection that was lost while nobody used it.
            Err(CallError::Lost(_)) if !has_tried => {
                has_tried = true;
                continue;
            }
            Err(error) => return Err(ReadError::Unavailable(error.to_string())),
        };
        return snapshot(&transaction, shared, &namespace, f).and_then(|value| {
            // Nothing is written, but a transaction that is left open keeps old rows.
            shared.call(transaction.commit()).map_err(SqlError::postgres)?;
            Ok(value)
        });
    }
}

fn snapshot<T>(
    transaction: &tokio_postgres::Transaction<'_>,
    shared: &super::session::Shared,
    namespace: &Namespace,
    f: impl FnOnce(&Tx<'_>) -> Result<T, SqlError>,
) -> Result<T, ReadError> {
    let inner = PgTx::new(transaction.client(), Some(transaction), shared, namespace);
    match catch_unwind(AssertUnwindSafe(|| f(&Tx::postgres(&inner)))) {
        Ok(result) => Ok(result?),
        // The panic hook has logged it.
        Err(_) => Err(ReadError::Panicked),
    }
}
