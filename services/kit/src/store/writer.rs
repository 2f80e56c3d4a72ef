//! The writer thread.

use super::disk_floor::Gauge;
use super::handover::Observer;
use super::sqlite::Failed;
use super::task::{Done, Durability, Job, LazyWrite, Task};
use super::wal::Wal;
use super::{LAZY_LIMIT, SqlError, Tx};
use crate::rt::{self, Instant};
use crate::runtime::crash_points;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};

/// The most closures in one transaction: bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 1_024;

/// What runs after each commit.
pub(super) type Observers = Arc<Mutex<Vec<Observer>>>;

/// What the writer says to the handles of the store.
pub(super) struct Signals {
    /// Changes with every commit.
    pub committed: watch::Sender<u64>,
    pub observers: Observers,
    pub failed: Failed,
    /// How many lazy writes of both kinds wait, those in the queue among them.
    pub lazy: Arc<AtomicUsize>,
}

pub(super) struct Writer {
    connection: Connection,
    queue: mpsc::Receiver<Task>,
    signals: Signals,
    wal: Wal,
    disk: Gauge,
    /// The lazy writes that are not committed yet, in their order. Where the open transaction failed, they run again in
    /// the next one.
    lazy: Vec<LazyWrite>,
    /// How many answered writes are in the open transaction.
    lazy_jobs: usize,
    /// When what waits has to be committed, or tried again.
    due: Option<Instant>,
    lock: Arc<File>,
}

type Tasks = std::iter::Peekable<std::vec::IntoIter<Task>>;

impl Writer {
    pub(super) fn new(
        connection: Connection,
        queue: mpsc::Receiver<Task>,
        signals: Signals,
        wal: Wal,
        disk: Gauge,
        lock: Arc<File>,
    ) -> Self {
        Self { connection, queue, signals, wal, disk, lazy: Vec::new(), lazy_jobs: 0, due: None, lock }
    }

    /// Runs until the last handle to the store is dropped and what waits is written.
    pub(super) fn run(mut self) {
        // Closures are caught one by one; what is caught here is a fault of the writer, or of a type that panics when
        // it is dropped. The panic hook has logged it.
        let ended = catch_unwind(AssertUnwindSafe(|| self.write_until_dropped()));
        self.queue.close();
        if ended.is_err() {
            self.signals.failed.end("the writer panicked".to_owned());
        }
        // After a failure the log is the better copy: neither this nor SQLite's own close may copy it and delete it.
        let tidied = match self.signals.failed.reason() {
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
        if let Err(error) = self.wal.watch(&mut self.connection) {
            self.signals.failed.end(format!("the length of the WAL cannot be watched: {error}"));
        }
        loop {
            match rt::block_on(self.queue.recv(), self.due) {
                Some(Some(first)) => {
                    let mut waiting = vec![first];
                    while waiting.len() < MAX_BATCH
                        && let Ok(task) = self.queue.try_recv()
                    {
                        waiting.push(task);
                    }
                    let mut waiting = waiting.into_iter().peekable();
                    while waiting.peek().is_some() {
                        self.run_some(&mut waiting, Durability::Lazy);
                    }
                }
                // Nothing came before what waits was due.
                None => {
                    crash_points::reach("before-lazy-commit");
                    self.commit_what_waits();
                }
                Some(None) => break,
            }
        }
        if self.due.is_some() {
            self.commit_what_waits();
        }
        if !self.lazy.is_empty() {
            tracing::warn!(writes = self.lazy.len(), "lazy writes could not be written before the end");
        }
    }

    fn no_longer_waiting(&self, writes: usize) {
        self.signals.lazy.fetch_sub(writes, Ordering::SeqCst);
    }

    fn commit_what_waits(&mut self) {
        self.run_some(&mut Vec::new().into_iter().peekable(), Durability::Now);
    }

    fn observe(&self) {
        for observer in &mut *self.signals.observers.lock().unwrap_or_else(PoisonError::into_inner) {
            if let Err(error) = observer(&Tx::new(&self.connection)) {
                tracing::warn!(%error, "what was committed could not be read");
                self.signals.failed.note(&error);
            }
        }
    }

    /// Runs tasks in one transaction until there are no more, or until one ends the transaction by its error. Commits
    /// where one of them, or `durability`, says so.
    fn run_some(&mut self, waiting: &mut Tasks, durability: Durability) {
        let mut done = Vec::new();
        let outcome = self.transaction(waiting, &mut done, durability);
        let outcome = outcome.map_err(|error| self.roll_back(&error));
        match outcome {
            Ok(true) => {
                self.no_longer_waiting(self.lazy.len() + self.lazy_jobs);
                self.lazy.clear();
                (self.lazy_jobs, self.due) = (0, None);
                self.observe();
                self.signals.committed.send_modify(|n| *n += 1);
            }
            Ok(false) if self.connection.is_autocommit() => {}
            Ok(false) => self.due = self.due.or_else(|| Some(Instant::now() + LAZY_LIMIT)),
            Err(_) => {
                let lost = std::mem::take(&mut self.lazy_jobs);
                self.no_longer_waiting(lost);
                self.due = (!self.lazy.is_empty()).then(|| Instant::now() + LAZY_LIMIT);
            }
        }
        for task in done {
            task.answer(outcome.as_ref().map(|_| ()).map_err(Clone::clone));
        }
        if let Ok(true) = outcome
            && let Err(error) = self.wal.keep_short(&self.connection).map_err(SqlError::from)
        {
            // On a full disk it cannot be copied; the writes themselves will tell.
            tracing::warn!(%error, "a checkpoint of the store failed");
            self.signals.failed.note(&error);
        }
    }

    /// Returns whether there was something to commit; otherwise what was written waits in the open transaction.
    fn transaction(
        &mut self,
        waiting: &mut Tasks,
        done: &mut Vec<Done>,
        mut durability: Durability,
    ) -> Result<bool, SqlError> {
        let low = self.disk.passed();
        // Where tasks never cease to come, nothing else commits what waits.
        if self.due.is_some_and(|due| due <= Instant::now()) {
            durability = Durability::Now;
        }
        if let Err(error) = self.resume() {
            // All must be answered, or the loop would try them forever.
            self.give_up(waiting, done);
            return Err(error);
        }
        while let Some(task) = waiting.peek() {
            let runs = match task {
                Task::Write(_) => low.is_none(),
                Task::Lazy(_) => true,
                Task::Flush(_) => false,
            };
            if runs && let Err(error) = self.begin() {
                self.give_up(waiting, done);
                return Err(error);
            }
            let Some(task) = waiting.next() else { break };
            match task {
                Task::Flush(reply) => {
                    durability = Durability::Now;
                    done.push(Done::Flush(reply));
                }
                Task::Lazy(write) => match self.run_lazy(&write) {
                    Ok(false) => {}
                    Ok(true) => self.lazy.push(write),
                    Err(error) => {
                        self.lazy.push(write);
                        self.give_up(waiting, done);
                        return Err(error);
                    }
                },
                Task::Write(job) => {
                    if let Some(floor) = low {
                        job.refuse(floor);
                        continue;
                    }
                    let kept = self.run_job(job, done)?;
                    if kept == Some(Durability::Lazy) {
                        self.lazy_jobs += 1;
                        self.signals.lazy.fetch_add(1, Ordering::SeqCst);
                    }
                    durability = durability.max(kept.unwrap_or(Durability::Now));
                }
            }
        }
        if self.connection.is_autocommit() || (durability == Durability::Lazy && self.lazy.len() < MAX_BATCH)
        {
            return Ok(false);
        }
        crash_points::reach("before-commit");
        self.execute("COMMIT")?;
        crash_points::reach("after-commit");
        Ok(true)
    }

    /// Makes sure of an open transaction where lazy writes were lost with the last one, and runs these again.
    fn resume(&mut self) -> Result<(), SqlError> {
        self.refuse_after_a_failure()?;
        if self.lazy.is_empty() || !self.connection.is_autocommit() {
            return Ok(());
        }
        self.begin()?;
        let mut again = std::mem::take(&mut self.lazy).into_iter();
        while let Some(write) = again.next() {
            let written = self.run_lazy(&write);
            if !matches!(written, Ok(false)) {
                self.lazy.push(write);
            }
            if let Err(error) = written {
                self.lazy.extend(again);
                return Err(error);
            }
        }
        Ok(())
    }

    /// After a failure it is unknown what the disk holds: only a new start can find out.
    fn refuse_after_a_failure(&self) -> Result<(), SqlError> {
        let Some(why) = self.signals.failed.reason() else { return Ok(()) };
        Err(SqlError::sqlite(ffi::SQLITE_IOERR, why))
    }

    fn begin(&self) -> Result<(), SqlError> {
        if self.connection.is_autocommit() { self.execute("BEGIN IMMEDIATE") } else { Ok(()) }
    }

    /// Runs a job in a savepoint of its own. `None` if it failed and is rolled back.
    fn run_job(&self, mut job: Box<dyn Job>, done: &mut Vec<Done>) -> Result<Option<Durability>, SqlError> {
        let begun = self.execute("SAVEPOINT job");
        let kept = if begun.is_ok() { job.run(&Tx::new(&self.connection)) } else { None };
        if let Some(why) = job.failure() {
            self.signals.failed.end(why);
        }
        // Before any return, so that it is answered in any case.
        done.push(Done::Write(job));
        begun?;
        self.refuse_after_a_failure()?;
        // A full or failing disk may have ended the whole transaction, not just this savepoint.
        if self.connection.is_autocommit() {
            return Err(SqlError::transaction_ended());
        }
        if kept.is_none() {
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")?;
        Ok(kept)
    }

    /// Returns whether it has written: one that fails by itself is given up. An error is the transaction's.
    fn run_lazy(&self, write: &LazyWrite) -> Result<bool, SqlError> {
        self.execute("SAVEPOINT job")?;
        let result = catch_unwind(AssertUnwindSafe(|| write(&Tx::new(&self.connection))));
        let written = matches!(result, Ok(Ok(())));
        if let Ok(Err(error)) = result {
            self.signals.failed.note(&error);
            if self.connection.is_autocommit() || error.is_of_the_moment() {
                return Err(error);
            }
            tracing::error!(%error, "a lazy write failed: it is given up");
        }
        // The panic hook has logged a panic.
        if !written {
            self.no_longer_waiting(1);
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")?;
        Ok(written)
    }

    /// The rest is not run: lazy writes wait for the next attempt, all others are answered.
    fn give_up(&mut self, waiting: &mut Tasks, done: &mut Vec<Done>) {
        for task in waiting {
            match task {
                Task::Write(job) => done.push(Done::Write(job)),
                Task::Lazy(write) => self.lazy.push(write),
                Task::Flush(reply) => done.push(Done::Flush(reply)),
            }
        }
    }

    fn execute(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.connection.prepare_cached(sql)?.execute([]).map(drop)?)
    }

    /// Ends the transaction after an error; returns the error as text.
    fn roll_back(&self, error: &SqlError) -> String {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK").map_err(SqlError::from)
        {
            tracing::error!(%error, "the store cannot roll back");
            self.signals.failed.note(&error);
        }
        let why = error.to_string();
        tracing::error!(error = %why, "the store could not commit");
        self.signals.failed.note(error);
        why
    }
}
