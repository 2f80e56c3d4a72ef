//! The thread that writes.

use super::WriteError;
use rusqlite::{Connection, ErrorCode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::{mpsc, oneshot, watch};

/// The most closures in one transaction: bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 1_024;

pub(super) enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// A closure with its caller.
pub(super) trait Job: Send {
    /// Runs the closure; says whether to keep what it wrote.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Answers the caller: with the closure's result if the commit succeeded, else with why it did not.
    fn answer(self: Box<Self>, commit: Result<(), String>);
}

struct Closure<T, E, F> {
    f: Option<F>,
    result: Option<Result<T, WriteError<E>>>,
    reply: oneshot::Sender<Result<T, WriteError<E>>>,
}

pub(super) fn job<T, E, F>(f: F, reply: oneshot::Sender<Result<T, WriteError<E>>>) -> Box<dyn Job>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    Box::new(Closure { f: Some(f), result: None, reply })
}

impl<T, E, F> Job for Closure<T, E, F>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(f) = self.f.take() else { return false };
        let result = match catch_unwind(AssertUnwindSafe(|| f(connection))) {
            Ok(result) => result.map_err(WriteError::Rejected),
            // The panic itself was reported by the hook; here it costs its own caller and nobody else.
            Err(_) => Err(WriteError::Unavailable("the write panicked".to_owned())),
        };
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, commit: Result<(), String>) {
        let answer = match commit {
            Ok(()) => {
                self.result.unwrap_or_else(|| Err(WriteError::Unavailable("it was not run".to_owned())))
            }
            Err(why) => Err(WriteError::Unavailable(why)),
        };
        // Nobody waits any more where the caller was cancelled: the write stands all the same.
        let _ = self.reply.send(answer);
    }
}

pub(super) struct Writer {
    connection: Connection,
    queue: mpsc::Receiver<Message>,
    committed: watch::Sender<u64>,
    failed: watch::Sender<Option<String>>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        queue: mpsc::Receiver<Message>,
        committed: watch::Sender<u64>,
        failed: watch::Sender<Option<String>>,
    ) -> Self {
        Self { connection, queue, committed, failed }
    }

    pub(super) fn run(mut self) {
        let mut close = None;
        while close.is_none() {
            let Some(first) = self.queue.blocking_recv() else { break };
            let mut waiting = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Job(job) => waiting.push(job),
                    Message::Close(reply) => close = Some(reply),
                }
                if waiting.len() < MAX_BATCH && close.is_none() {
                    next = self.queue.try_recv().ok();
                }
            }
            let mut waiting = waiting.into_iter();
            while waiting.len() > 0 {
                self.commit_some(&mut waiting);
            }
        }
        self.queue.close();
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(%error, "the last checkpoint of the store failed");
        }
        drop(self.connection);
        if let Some(reply) = close {
            let _ = reply.send(());
        }
    }

    /// Runs jobs in one transaction until there are no more, or until one ends the transaction by its error.
    fn commit_some(&mut self, waiting: &mut dyn Iterator<Item = Box<dyn Job>>) {
        let mut done = Vec::new();
        let outcome = self.transaction(waiting, &mut done);
        let outcome = outcome.map_err(|error| self.roll_back(&error));
        if outcome.is_ok() {
            self.committed.send_modify(|n| *n += 1);
        }
        for job in done {
            job.answer(outcome.clone());
        }
    }

    fn transaction(
        &self,
        waiting: &mut dyn Iterator<Item = Box<dyn Job>>,
        done: &mut Vec<Box<dyn Job>>,
    ) -> rusqlite::Result<()> {
        let execute = |sql| self.connection.prepare_cached(sql)?.execute([]).map(drop);
        if let Err(error) = execute("BEGIN IMMEDIATE") {
            // Whoever waits must be answered, or `run` would try them for ever.
            done.extend(waiting);
            return Err(error);
        }
        for mut job in waiting {
            execute("SAVEPOINT job")?;
            let keep = job.run(&self.connection);
            done.push(job);
            // A full or failing disk may have ended the whole transaction, not only this savepoint.
            if self.connection.is_autocommit() {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                    Some("the disk is full or failing".to_owned()),
                ));
            }
            if !keep {
                execute("ROLLBACK TO job")?;
            }
            execute("RELEASE job")?;
        }
        execute("COMMIT")
    }

    /// Leaves no transaction open; after a failed write to the disk, reports that the store can't be trusted.
    fn roll_back(&self, error: &rusqlite::Error) -> String {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the store cannot roll back");
        }
        let why = error.to_string();
        tracing::error!(error = %why, "the store could not commit");
        let code = error.sqlite_error_code();
        if matches!(
            code,
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) {
            self.failed.send_replace(Some(why.clone()));
        }
        why
    }
}
