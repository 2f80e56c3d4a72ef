//! Writes: each in a transaction of its own, which holds the lock of its guard.
//!
//! A transaction that another one was in the way of, or whose connection was lost before `COMMIT` was sent, runs again.
//! Once `COMMIT` was sent, only an answer without a warning says that it stands.

use super::Program;
use super::error::{CallError, Class};
use super::session::{ConnectError, Session};
use super::transaction::PgTx;
use super::worker::{Line, Work};
use crate::runtime::backoff::Backoff;
use crate::runtime::crash_points;
use crate::store::task::{Failure, Job, LazyWrite};
use crate::store::{Durability, SqlError, Tx};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tokio::sync::oneshot;

/// How often a transaction runs again.
const REPEATS: u32 = 5;
/// How long it waits before that.
const AGAIN: Backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(500) };

/// What a writer does, and the lock that it takes first.
pub(super) struct Write {
    pub(super) lock: Option<i64>,
    pub(super) what: What,
}

pub(super) enum What {
    Job(Box<dyn Job>),
    Lazy(LazyWrite),
    /// All lazy writes before it are done: bring them to the disk.
    Flush(oneshot::Sender<Result<(), String>>),
}

impl Work for Write {
    fn run(self, line: &mut Line) {
        match self.what {
            What::Job(mut job) => {
                let ended = repeated(line, self.lock, &mut |tx| job.run(tx));
                job.answer(ended.map(drop));
            }
            What::Lazy(write) => run_lazily(line, &write),
            What::Flush(reply) => {
                // A commit that waits for the disk, or the standby, brings all before it there; it needs something to say.
                let sql = "SELECT 1 FROM pg_logical_emit_message(true, 'mini-blog', '')";
                let flushed = repeated(line, None, &mut |tx| {
                    tx.query(sql, &[], |_| Ok(())).ok().map(|_| Durability::Now)
                });
                let answer = match flushed {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("the lazy writes cannot be brought to the disk".to_owned()),
                    Err(failure) => Err(failure.to_string()),
                };
                // Nobody waits any more.
                let _ = reply.send(answer);
            }
        }
    }

    fn refuse(self, why: &str) {
        match self.what {
            What::Job(job) => job.answer(Err(Failure::Unavailable(why.to_owned()))),
            What::Lazy(_) => tracing::warn!(why, "a lazy write could not be written before the end"),
            What::Flush(reply) => drop(reply.send(Err(why.to_owned()))),
        }
    }

    fn stays(&self) -> bool {
        matches!(self.what, What::Lazy(_))
    }
}

/// How one attempt has ended.
enum Attempt {
    Committed,
    /// The closure has failed, and what it wrote is taken back.
    Refused,
    /// Nothing is written.
    Failed(Class, String),
    /// It may stand or not.
    Unknown(String),
}

impl Attempt {
    fn failed(error: &CallError) -> Self {
        Self::Failed(error.class(), error.to_string())
    }
}

/// Runs a transaction until it is known how it ends. Returns whether it was committed.
fn repeated(
    line: &mut Line,
    lock: Option<i64>,
    run: &mut dyn FnMut(&Tx<'_>) -> Option<Durability>,
) -> Result<bool, Failure> {
    let mut repeats = 0;
    loop {
        match attempt(line, lock, run) {
            Attempt::Committed => {
                line.program().commits.by_this_replica();
                return Ok(true);
            }
            Attempt::Refused => return Ok(false),
            Attempt::Failed(Class::Again | Class::Lost, why) if repeats < REPEATS => {
                repeats += 1;
                tracing::debug!(why, repeats, "a transaction runs again");
                line.wait(AGAIN, repeats);
            }
            Attempt::Failed(Class::Busy, _) => return Err(Failure::Busy),
            Attempt::Failed(_, why) => {
                tracing::error!(error = why, "the store could not write");
                return Err(Failure::Unavailable(why));
            }
            Attempt::Unknown(why) => {
                tracing::error!(error = why, "it is unknown whether a write stands");
                // Where it does, others see it.
                line.program().commits.by_this_replica();
                return Err(Failure::Unknown(why));
            }
        }
    }
}

fn attempt(
    line: &mut Line,
    lock: Option<i64>,
    run: &mut dyn FnMut(&Tx<'_>) -> Option<Durability>,
) -> Attempt {
    let namespace = line.namespace().clone();
    let session = match line.session() {
        Ok(session) => session,
        Err(ConnectError::Unreachable(why)) => return Attempt::Failed(Class::Lost, why),
        Err(ConnectError::Refused(why)) => return Attempt::Failed(Class::Moment, why),
    };
    let mut begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE".to_owned();
    if let Some(lock) = lock {
        begin = format!("{begin}; SELECT 1 FROM pg_advisory_xact_lock({lock})");
    }
    if let Err(error) = session.batch(&begin) {
        roll_back(session);
        return Attempt::failed(&error);
    }
    let inner = PgTx::new(&session.client, None, &session.shared, &namespace);
    let kept = run(&Tx::postgres(&inner));
    let (is_aborted, failure, changes) = (inner.is_aborted(), inner.failure(), inner.changes());
    match kept {
        Some(durability) if !is_aborted => commit(session, durability, changes),
        Some(_) => {
            roll_back(session);
            Attempt::Failed(
                Class::Program,
                "a statement has failed, and its error was not returned".to_owned(),
            )
        }
        None => {
            roll_back(session);
            match failure {
                Some(class @ (Class::Again | Class::Lost | Class::Busy)) => {
                    Attempt::Failed(class, "a statement could not be run".to_owned())
                }
                _ => Attempt::Refused,
            }
        }
    }
}

fn commit(session: &Session, durability: Durability, changes: u64) -> Attempt {
    let warnings = session.warnings();
    crash_points::reach("before-commit");
    // The server answers a COMMIT of a transaction that has failed with success, and rolls back; a statement before it
    // does not pass.
    let committed = session.batch(match durability {
        Durability::Now => "SELECT; COMMIT",
        Durability::Lazy => "SELECT; SET LOCAL synchronous_commit = off; COMMIT",
    });
    crash_points::reach("after-commit");
    match committed {
        Ok(()) if session.warnings() == warnings => Attempt::Committed,
        // Where its wait for a standby was cancelled, the server warns, and answers with success.
        Ok(()) => Attempt::Unknown("the database did not wait for its standby".to_owned()),
        // What has changed nothing may run again.
        Err(error) if error.class() == Class::Lost && changes > 0 => Attempt::Unknown(error.to_string()),
        Err(error) => {
            roll_back(session);
            Attempt::failed(&error)
        }
    }
}

/// Where this fails, the connection is not used again, and the server rolls back.
fn roll_back(session: &Session) {
    if session.is_alive()
        && let Err(error) = session.batch("ROLLBACK")
    {
        tracing::debug!(%error, "a transaction is rolled back by the end of its connection");
        session.shared.give_up();
    }
}

/// Runs until it is committed, unless it fails by itself.
fn run_lazily(line: &mut Line, write: &LazyWrite) {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut of_its_own: Option<SqlError> = None;
        let ended = repeated(line, None, &mut |tx| match catch_unwind(AssertUnwindSafe(|| write(tx))) {
            Ok(Ok(())) => Some(Durability::Lazy),
            Ok(Err(error)) => {
                of_its_own = Some(error);
                None
            }
            // The panic hook has logged it.
            Err(_) => None,
        });
        match (ended, of_its_own) {
            (Ok(false), Some(error)) if !error.is_of_the_moment() => {
                return tracing::error!(%error, "a lazy write failed: it is given up");
            }
            (Ok(false), None) | (Ok(true) | Err(Failure::Unknown(_)), _) => return,
            (Ok(false) | Err(_), _) => {}
        }
        if line.program().is_stopping() {
            return tracing::warn!("a lazy write could not be written before the end");
        }
        line.wait(super::worker::RECONNECT, attempts);
    }
}

impl Program {
    fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }
}
