//! Where a service keeps its state: a file of its own (SQLite), or a database that its replicas share (PostgreSQL).
//!
//! Nothing above this module names one of them. A service writes closures over a [`Tx`], the one place through which it
//! speaks SQL; a write names what it waits for ([`Guard`]). When [`Store::write`] returns `Ok`, the write is on disk; a write
//! that may be lost with the process is lazy ([`Store::write_lazily`], [`Durability::Lazy`]).
//!
//! `sqlite` is one writer that commits for many at once, the default. `postgres` (feature `postgres`) is four writers with a
//! connection each, which wait for the lock of their guard.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

mod database_url;
mod disk_floor;
mod guard;
mod handover;
mod leadership;
#[cfg(any(test, feature = "memory"))]
mod memory;
mod opening;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod schema;
mod sql_error;
mod sqlite;
mod task;
mod tx;
mod wal;
mod writer;

pub use crate::values;
pub use database_url::{DatabaseLocation, DatabaseUrl, LocationError, NoDatabaseUrl};
pub use disk_floor::DiskFloor;
pub use guard::Guard;
pub use handover::{AsOf, Handover};
pub use leadership::Leadership;
#[cfg(any(test, feature = "memory"))]
pub use memory::Memory;
pub use row::Row;
pub use schema::Schema;
pub use sql_error::SqlError;
pub use task::Durability;
pub use tx::{Tx, Value};

/// The longest that a lazy write waits for a commit. Where the disk is full, how long until it is tried again.
pub const LAZY_LIMIT: Duration = Duration::from_secs(1);
/// How many prepared statements each connection keeps.
const STATEMENTS: usize = 64;

/// Why a store cannot be opened. Each names the file.
#[expect(missing_docs, reason = "the messages explain the fields")]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be created or opened.
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// Another process has it open.
    #[error("{path} is in use by another process")]
    InUse { path: PathBuf },
    /// The file is damaged. It is left as it is, so that it can be examined or restored.
    #[error("the database {path} is damaged: {what}; restore it from a backup, or move its files away")]
    Corrupt { path: PathBuf, what: String },
    /// The database cannot use the file; it is left as it is.
    #[error("cannot open the database {path}: {source}")]
    Sql { path: PathBuf, source: SqlError },
    /// The file was written by a later version of this program.
    #[error(
        "the database {path} has schema {found}, and this program knows only up to {known}: use a newer one"
    )]
    NewerSchema { path: PathBuf, found: usize, known: usize },
    /// The shared database cannot be used as it is configured; nothing in it was changed.
    #[error("cannot use the database {0}")]
    Database(String),
}

/// Why a write failed. Nothing of it is stored, except that with [`WriteError::Unknown`] it may be.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The closure returned an error.
    #[error(transparent)]
    Rejected(E),
    /// The closure or the writer panicked: a fault in the program, retrying does not help. The panic hook
    /// has logged it.
    #[error("the write panicked")]
    Panicked,
    /// Too many writes are waiting: try again in a moment.
    #[error("too many writes are waiting")]
    Busy,
    /// The disk is full or failing, or the store has ended.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
    /// The commit was sent, and no answer has come: it may be stored. Whoever repeats the write must recognise what is stored
    /// already. The engine has logged it.
    #[error("it is not known whether the write is stored: {0}")]
    Unknown(String),
    /// Too little of the disk is free: refused before SQLite meets a full disk. Succeeds again once there is space.
    #[error("less than {floor} MiB of the disk is free")]
    DiskFloor {
        /// How much has to be free.
        floor: DiskFloor,
    },
}

impl<E> WriteError<E> {
    fn refused(why: sqlite::Refused) -> Self {
        match why {
            sqlite::Refused::Busy => Self::Busy,
            sqlite::Refused::Ended => Self::Unavailable("the writer has ended".to_owned()),
        }
    }

    fn failed(failure: task::Failure) -> Self {
        match failure {
            task::Failure::Busy => Self::Busy,
            task::Failure::Unavailable(why) => Self::Unavailable(why),
            task::Failure::Unknown(why) => Self::Unknown(why),
        }
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A statement failed.
    #[error("the store cannot read: {0}")]
    Sql(#[from] SqlError),
    /// The closure panicked: a fault in the program, retrying does not help. The panic hook has logged it.
    #[error("the read panicked")]
    Panicked,
    /// The process stopped before the read was done.
    #[error("the reader was stopped")]
    Stopped,
    /// There is no connection to the database.
    #[error("the store cannot read: {0}")]
    Unavailable(String),
}

/// One step of a schema: the statements of all its parts, run in one transaction.
pub type Migration = &'static [&'static str];

/// How a store is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How much of the disk must be free for writes.
    pub disk_floor: DiskFloor,
    /// Files up to so many bytes are checked for damage when they are opened. A larger one is opened at once, however
    /// much it holds; whoever opens it runs [`Store::check_in_background`].
    pub check_up_to: u64,
}

/// [`Options::check_up_to`], in bytes: a check of so many takes about 0.1 s.
const CHECKED_AT_START: u64 = 64 * 1024 * 1024;

impl Default for Options {
    fn default() -> Self {
        Self { disk_floor: DiskFloor::default(), check_up_to: CHECKED_AT_START }
    }
}

/// A handle to where a service keeps its state; clones share it.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    Sqlite(Arc<sqlite::Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(Arc<postgres::Postgres>),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.path().display())
    }
}

impl Store {
    /// Opens or creates `<dir>/<name>.db` and brings its schema up to the last of `migrations`. The file is closed when
    /// the last clone is dropped and what waits is written.
    pub fn open(dir: &Path, name: &str, migrations: &[Migration]) -> Result<Self, OpenError> {
        Self::open_with(dir, name, migrations, Options::default())
    }

    /// [`Store::open`], with these options.
    pub fn open_with(
        dir: &Path,
        name: &str,
        migrations: &[Migration],
        options: Options,
    ) -> Result<Self, OpenError> {
        let file = sqlite::Sqlite::open(dir, name, migrations, options)?;
        Ok(Self { engine: Engine::Sqlite(Arc::new(file)) })
    }

    /// Connects to the database of the service `name`, and brings its schema up to date. Where the server cannot be reached,
    /// the store is open all the same, and unavailable until it can be ([`Store::availability`]). Settings that a person has
    /// to mend are an error.
    #[cfg(feature = "postgres")]
    pub async fn connect(location: &DatabaseLocation, name: &str, schema: Schema) -> Result<Self, OpenError> {
        let database = postgres::Postgres::open(location, name, schema).await?;
        Ok(Self { engine: Engine::Postgres(Arc::new(database)) })
    }

    /// As above, in a program that was built without.
    #[cfg(not(feature = "postgres"))]
    pub async fn connect(location: &DatabaseLocation, _: &str, _: Schema) -> Result<Self, OpenError> {
        let url = location.read().map_or_else(|error| error.to_string(), |url| url.to_string());
        Err(OpenError::Database(format!("{url}: this program was built without the feature \"postgres\"")))
    }

    /// Runs `f` in a transaction, once it has what `guard` names; when this returns `Ok`, the write is on disk.
    ///
    /// `f` shares its transaction with others and must not begin or end one. An engine may run it again, where it has taken
    /// back all that the run before wrote: it must change nothing outside the transaction, and must take ids and times from
    /// outside. What is to happen once belongs after the write, or to [`Store::write_then`].
    pub async fn write<T, E, F>(&self, guard: Guard, f: F) -> Result<T, WriteError<E>>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        self.write_by(guard, move |tx| f(tx).map(|value| (value, Durability::Now))).await
    }

    /// [`Store::write`], where `f` says whether its caller has to wait for the disk. A write that it calls lazy is
    /// lost where the process dies within [`LAZY_LIMIT`], or where a later write meets a full disk: only for what is
    /// then made again by itself.
    pub async fn write_by<T, E, F>(&self, guard: Guard, f: F) -> Result<T, WriteError<E>>
    where
        F: Fn(&Tx<'_>) -> Result<(T, Durability), E> + Send + 'static,
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        self.write_then(guard, f, |_| {}).await
    }

    /// [`Store::write_by`], and then `after` on the writer: once the result stands, before this returns, and also where
    /// the caller no longer waits. Writes run it in the order in which they took effect. It must be quick: all writes
    /// wait for it.
    pub async fn write_then<T, E, F, A>(&self, guard: Guard, f: F, after: A) -> Result<T, WriteError<E>>
    where
        F: Fn(&Tx<'_>) -> Result<(T, Durability), E> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = task::job(f, after, reply);
        match &self.engine {
            Engine::Sqlite(file) => {
                // There is one writer.
                drop(guard);
                file.submit(job).map_err(WriteError::refused)?;
            }
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.submit(&guard, job).map_err(WriteError::failed)?,
        }
        // The writer answers every job, unless it panics.
        answer.await.unwrap_or(Err(WriteError::Panicked))
    }

    /// Queues a write that nobody waits for, without a guard ([`Guard::None`]): it joins the next commit, or is committed by
    /// itself within [`LAZY_LIMIT`]. Lost only where the process dies before that. Where the disk is full, `f` runs again until it
    /// is committed; an error of its own is logged, and gives it up.
    pub async fn write_lazily<F>(&self, f: F) -> Result<(), WriteError<SqlError>>
    where
        F: Fn(&Tx<'_>) -> Result<(), SqlError> + Send + 'static,
    {
        match &self.engine {
            Engine::Sqlite(file) => file.write_lazily(Box::new(f)).await.map_err(WriteError::refused),
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.write_lazily(Box::new(f)).map_err(WriteError::failed),
        }
    }

    /// Commits the lazy writes that wait, and returns when they are on disk.
    pub async fn flush(&self) -> Result<(), WriteError<SqlError>> {
        let (reply, answer) = oneshot::channel();
        match &self.engine {
            Engine::Sqlite(file) => file.flush(reply).await.map_err(WriteError::refused)?,
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.flush(reply).map_err(WriteError::failed)?,
        }
        answer.await.map_err(|_| WriteError::Panicked)?.map_err(WriteError::Unavailable)
    }

    /// Runs `f` on a read-only connection, in one snapshot. Keep it short: a long read holds the log of the
    /// database open.
    pub async fn read<T, F>(&self, f: F) -> Result<T, ReadError>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, SqlError> + Send + 'static,
        T: Send + 'static,
    {
        match &self.engine {
            Engine::Sqlite(file) => Arc::clone(file).read(f).await,
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.read(f).await,
        }
    }

    /// Changes with every commit, also of other replicas, and now and then without one. Take it *before* looking for work:
    /// then no commit in between is missed.
    pub fn committed(&self) -> watch::Receiver<u64> {
        match &self.engine {
            Engine::Sqlite(file) => file.committed.clone(),
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.committed(),
        }
    }

    /// Whether rows that the database numbers are committed in the order of their numbers: then none ever appears before one
    /// that a reader has seen. So with one writer; several take numbers first, and commit in any order.
    pub fn numbers_in_commit_order(&self) -> bool {
        !self.is_shared()
    }

    /// Hands what each commit stored over to a task that waits for it. `read` returns what the store holds after a place,
    /// `None` where there is nothing; it runs on the writer after the commit, so that it must be quick and its result
    /// bounded. Where there are several writers, nothing is handed over, and the task is woken to read it itself.
    pub fn hand_over<T, F>(&self, read: F) -> Handover<T>
    where
        F: FnMut(&Tx<'_>, i64) -> Result<Option<T>, SqlError> + Send + 'static,
        T: Send + 'static,
    {
        match &self.engine {
            Engine::Sqlite(file) => {
                let (handover, observer) = handover::new(read);
                file.observers.lock().unwrap_or_else(PoisonError::into_inner).push(observer);
                handover
            }
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => {
                let (handover, wake) = handover::waking();
                database.wake(wake);
                handover
            }
        }
    }

    /// Waits until this replica has a duty that one replica has at a time: at once where it is the only one.
    pub async fn lead(&self, duty: &'static str) -> Leadership {
        match &self.engine {
            Engine::Sqlite(_) => {
                let _ = duty;
                Leadership::of_the_only_one()
            }
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.lead(duty).await,
        }
    }

    /// Why the store cannot be used at the moment, if it cannot, and that it can be again; `None` for a store that is there
    /// for as long as the process.
    pub fn availability(&self) -> Option<watch::Receiver<Option<String>>> {
        match &self.engine {
            Engine::Sqlite(_) => None,
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => Some(database.availability()),
        }
    }

    /// Whether other replicas may write to it.
    pub fn is_shared(&self) -> bool {
        self.file().is_none()
    }

    /// Ends when the disk has failed, the file was found damaged, or the writer has panicked. The process must then end
    /// too: it is uncertain what was written last. The store writes nothing from then on. A database that cannot be reached
    /// is no failure.
    pub async fn failure(&self) -> String {
        match &self.engine {
            Engine::Sqlite(file) => file.failed.seen().await,
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.failure().await,
        }
    }

    /// Lets the next start check the file before it opens it, however large it is.
    pub fn suspect(&self, why: &str) {
        if let Some(file) = self.file() {
            file.suspect(why);
        }
    }

    /// Whether the file was checked for damage when it was opened. A server checks its own.
    pub fn is_checked(&self) -> bool {
        self.file().is_none_or(|file| file.is_checked)
    }

    /// Checks a file that was too large to be checked when it was opened, beside the other readers. Damage ends the
    /// store.
    pub async fn check_in_background(&self) {
        let Some(file) = self.file().filter(|file| !file.is_checked) else { return };
        match self.check().await {
            Ok(None) => tracing::info!(file = %file.path.display(), "the file is checked"),
            Ok(Some(fault)) => self.end_as_damaged(&fault),
            Err(error) => tracing::warn!(%error, "the file could not be checked"),
        }
    }

    /// Reads every page and checks that they fit together, beside the other readers; returns the first fault.
    pub async fn check(&self) -> Result<Option<String>, ReadError> {
        match self.file() {
            Some(file) => Arc::clone(file).check().await,
            None => Ok(None),
        }
    }

    /// Ends the store because what it holds is damaged, as seen by whoever reads it.
    pub fn end_as_damaged(&self, what: &str) {
        match &self.engine {
            Engine::Sqlite(file) => file.failed.end(file.damaged(what)),
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.end(what),
        }
    }

    /// Where the data is: the database file, or in its place the URL of the database without its password.
    pub fn path(&self) -> &Path {
        match &self.engine {
            Engine::Sqlite(file) => &file.path,
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => database.place(),
        }
    }

    #[cfg_attr(not(feature = "postgres"), expect(clippy::unnecessary_wraps, reason = "there is one engine"))]
    fn file(&self) -> Option<&Arc<sqlite::Sqlite>> {
        match &self.engine {
            Engine::Sqlite(file) => Some(file),
            #[cfg(feature = "postgres")]
            Engine::Postgres(_) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
