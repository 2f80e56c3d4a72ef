//! The writer thread.

use super::{Failed, WriteError};
use crate::runtime::crash_points;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::error::Error;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// The most closures in one transaction: bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 1_024;

/// A closure with its caller.
pub(super) trait Job: Send {
    /// Runs the closure; returns whether to keep what it wrote.
    fn run(&mut self, connection: &Connection) -> bool;
    /// The SQLite error that made the closure fail, if one did.
    fn fault(&self) -> Option<&rusqlite::Error>;
    /// Answers the caller: with the closure's result if the commit succeeded, else with the error of the commit.
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
    E: Error + Send + 'static,
{
    Box::new(Closure { f: Some(f), result: None, reply })
}

impl<T, E, F> Job for Closure<T, E, F>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: Error + Send + 'static,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(f) = self.f.take() else { return false };
        let result = match catch_unwind(AssertUnwindSafe(|| f(connection))) {
            Ok(result) => result.map_err(WriteError::Rejected),
            // The panic hook has logged it. The other closures of the transaction are not affected.
            Err(_) => Err(WriteError::Panicked),
        };
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn fault(&self) -> Option<&rusqlite::Error> {
        let Some(Err(WriteError::Rejected(error))) = &self.result else { return None };
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(fault) = error.downcast_ref() {
                return Some(fault);
            }
            next = error.source();
        }
        None
    }

    fn answer(self: Box<Self>, commit: Result<(), String>) {
        let answer = match commit {
            Ok(()) => self
                .result
                .unwrap_or_else(|| Err(WriteError::Unavailable("the write was not run".to_owned()))),
            Err(why) => Err(WriteError::Unavailable(why)),
        };
        // A caller that was cancelled gets no answer; the write stands all the same.
        let _ = self.reply.send(answer);
    }
}

pub(super) struct Writer {
    connection: Connection,
    queue: mpsc::Receiver<Box<dyn Job>>,
    committed: watch::Sender<u64>,
    failed: Failed,
    lock: Arc<File>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        queue: mpsc::Receiver<Box<dyn Job>>,
        committed: watch::Sender<u64>,
        failed: Failed,
        lock: Arc<File>,
    ) -> Self {
        Self { connection, queue, committed, failed, lock }
    }

    /// Runs until the last handle to the store is dropped and what waits is written.
    pub(super) fn run(mut self) {
        // Closures are caught one by one; what is caught here is a fault of the writer, or of a type that panics when
        // it is dropped. The panic hook has logged it.
        let ended = catch_unwind(AssertUnwindSafe(|| self.write_until_dropped()));
        self.queue.close();
        if ended.is_err() {
            self.failed.end("the writer panicked".to_owned());
        }
        // After a failure the log is the better copy: neither this nor SQLite's own close may copy it and delete it.
        let tidied = match self.failed.reason() {
            None => self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"),
            Some(_) => {
                self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
            }
        };
        if let Err(error) = tidied {
            tracing::warn!(%error, "the last checkpoint of the store failed");
        }
        drop(self.connection);
        drop(self.lock);
    }

    fn write_until_dropped(&mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let mut waiting = vec![first];
            while waiting.len() < MAX_BATCH
                && let Ok(job) = self.queue.try_recv()
            {
                waiting.push(job);
            }
            let mut waiting = waiting.into_iter();
            while waiting.len() > 0 {
                self.commit_some(&mut waiting);
            }
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
            // All must be answered, or the loop would try them forever.
            done.extend(waiting);
            return Err(error);
        }
        for mut job in waiting {
            let begun = execute("SAVEPOINT job");
            let keep = begun.is_ok() && job.run(&self.connection);
            if let Some(fault) = job.fault() {
                self.failed.note(fault);
            }
            // Before any return, so that it is answered in any case.
            done.push(job);
            begun?;
            // After a failure it is unknown what the disk holds: only a new start can find out.
            if let Some(why) = self.failed.reason() {
                let failing = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
                return Err(rusqlite::Error::SqliteFailure(failing, Some(why)));
            }
            // A full or failing disk may have ended the whole transaction, not just this savepoint.
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
        crash_points::reach("before-commit");
        execute("COMMIT")?;
        crash_points::reach("after-commit");
        Ok(())
    }

    /// Ends the transaction after an error; returns the error as text.
    fn roll_back(&self, error: &rusqlite::Error) -> String {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the store cannot roll back");
            self.failed.note(&error);
        }
        let why = error.to_string();
        tracing::error!(error = %why, "the store could not commit");
        self.failed.note(error);
        why
    }
}
