//! What the writer has to do: writes with their callers, lazy writes, flushes.

use super::disk_floor::DiskFloor;
use super::{SqlError, Tx, WriteError};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;

/// When a write has to be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// With the next commit, at most [`super::LAZY_LIMIT`] from now; its caller is answered before.
    Lazy,
    /// Before its caller is answered.
    Now,
}

/// What the writer has to do.
pub(super) enum Task {
    Write(Box<dyn Job>),
    Lazy(LazyWrite),
    /// Commit the lazy writes that wait.
    Flush(Flush),
}

/// Whoever waits for what is lazy.
pub(super) type Flush = oneshot::Sender<Result<(), String>>;

/// Why a write that was run is not answered with its result.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "no write waits for a lock"))]
    #[error("another write holds what it waits for")]
    Busy,
    #[error("{0}")]
    Unavailable(String),
    /// It may stand.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a file tells"))]
    #[error("{0}")]
    Unknown(String),
}

/// A write that nobody waits for. It can run more than once: a transaction that fails takes it along.
pub(super) type LazyWrite = Box<dyn Fn(&Tx<'_>) -> Result<(), SqlError> + Send>;

/// What was run and is to be answered.
pub(super) enum Done {
    Write(Box<dyn Job>),
    Flush(Flush),
}

impl Done {
    pub(super) fn answer(self, commit: Result<(), String>) {
        match self {
            Self::Write(job) => job.answer(commit.map_err(Failure::Unavailable)),
            // Nobody waits any more.
            Self::Flush(reply) => drop(reply.send(commit)),
        }
    }
}

/// A closure with its caller.
pub(super) trait Job: Send {
    /// Runs the closure, perhaps not for the first time; `None` if what it wrote must be rolled back.
    fn run(&mut self, tx: &Tx<'_>) -> Option<Durability>;
    /// Why the store has to end, where the closure's error says so.
    fn failure(&self) -> Option<String>;
    /// Answers the caller: with the closure's result if the commit succeeded, else with the error of the commit.
    fn answer(self: Box<Self>, commit: Result<(), Failure>);
    /// Answers the caller that the closure was not run.
    fn refuse(self: Box<Self>, floor: DiskFloor);
}

struct Closure<T, E, F, A> {
    f: F,
    /// Of the last run.
    result: Option<Result<T, WriteError<E>>>,
    /// Runs once the result stands.
    after: A,
    reply: oneshot::Sender<Result<T, WriteError<E>>>,
}

pub(super) fn job<T, E, F, A>(
    f: F,
    after: A,
    reply: oneshot::Sender<Result<T, WriteError<E>>>,
) -> Box<dyn Job>
where
    F: Fn(&Tx<'_>) -> Result<(T, Durability), E> + Send + 'static,
    A: FnOnce(&T) + Send + 'static,
    T: Send + 'static,
    E: Error + Send + 'static,
{
    Box::new(Closure { f, result: None, after, reply })
}

impl<T, E, F, A> Job for Closure<T, E, F, A>
where
    F: Fn(&Tx<'_>) -> Result<(T, Durability), E> + Send,
    A: FnOnce(&T) + Send,
    T: Send,
    E: Error + Send + 'static,
{
    fn run(&mut self, tx: &Tx<'_>) -> Option<Durability> {
        let (result, keep) = match catch_unwind(AssertUnwindSafe(|| (self.f)(tx))) {
            Ok(Ok((value, durability))) => (Ok(value), Some(durability)),
            Ok(Err(error)) => (Err(WriteError::Rejected(error)), None),
            // The panic hook has logged it. The other closures of the transaction are not affected.
            Err(_) => (Err(WriteError::Panicked), None),
        };
        self.result = Some(result);
        keep
    }

    fn failure(&self) -> Option<String> {
        let Some(Err(WriteError::Rejected(error))) = &self.result else { return None };
        SqlError::failure_in(error)
    }

    fn answer(self: Box<Self>, commit: Result<(), Failure>) {
        let Self { f, result, after, reply } = *self;
        // What it holds may be its caller's again, who then frees it.
        drop(f);
        let answer = match commit {
            Ok(()) => {
                result.unwrap_or_else(|| Err(WriteError::Unavailable("the write was not run".to_owned())))
            }
            Err(failure) => Err(WriteError::failed(failure)),
        };
        if let Ok(value) = &answer {
            // The panic hook has logged it. The write stands.
            let _ = catch_unwind(AssertUnwindSafe(|| after(value)));
        }
        // A caller that was cancelled gets no answer; the write stands all the same.
        let _ = reply.send(answer);
    }

    fn refuse(self: Box<Self>, floor: DiskFloor) {
        // As above.
        let _ = self.reply.send(Err(WriteError::DiskFloor { floor }));
    }
}
