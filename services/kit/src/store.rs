//! One SQLite file: one writer that commits for many at once, and readers beside it.
//!
//! All writes of a service go through one thread. It takes all waiting closures, runs each in its own savepoint
//! inside one transaction, commits once, and only then answers them: one `fsync` for many requests (group commit). A
//! closure that fails rolls back its own savepoint only. Closures get a [`Tx`], the one place through which a service
//! speaks SQL.
//!
//! The file is in WAL mode with `synchronous=FULL`: when [`Store::write`] returns `Ok`, the write is on disk. A write
//! that may be lost with the process ([`Store::write_lazily`], [`Durability::Lazy`]) waits in the open transaction for
//! the next commit, at most [`LAZY_LIMIT`]. Writes take effect in the order in which they came, lazy or not.
//!
//! A damaged file is refused when it is opened, and left as it is; a disk that fails ends the store. Below the floor of
//! free disk space ([`Options`]) writes are refused before SQLite meets a full disk.

use crate::rt;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

mod disk_floor;
mod guard;
mod handover;
#[cfg(any(test, feature = "memory"))]
mod memory;
mod opening;
mod row;
mod sql_error;
mod task;
mod tx;
mod wal;
mod writer;

pub use crate::values;
pub use disk_floor::DiskFloor;
pub use guard::Guard;
pub use handover::{AsOf, Handover};
#[cfg(any(test, feature = "memory"))]
pub use memory::Memory;
pub use row::Row;
pub use sql_error::SqlError;
pub use task::Durability;
pub use tx::{Tx, Value};

/// The most closures that may wait for the writer; one more gets [`WriteError::Busy`].
const QUEUE: usize = 8_192;
/// The most simultaneous readers.
const READERS: usize = 4;
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
    fn ended() -> Self {
        Self::Unavailable("the writer has ended".to_owned())
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

/// A handle to one SQLite file; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    is_checked: bool,
    tasks: mpsc::Sender<task::Task>,
    /// How many lazy writes wait for a commit.
    lazy: Arc<AtomicUsize>,
    committed: watch::Receiver<u64>,
    observers: writer::Observers,
    failed: Failed,
    readers: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// Held for as long as the file is open, here or on the writer, so that no second process writes to it.
    _lock: Arc<File>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.inner.path.display())
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
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        let lock_path = dir.join(format!("{name}.lock"));
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        let path = dir.join(format!("{name}.db"));
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(std::fs::TryLockError::Error(source)) => return Err(io(&lock_path)(source)),
        }
        let lock = Arc::new(lock);
        let suspicion = opening::suspicion(&path);
        let is_checked = opening::length(&path) <= options.check_up_to || suspicion.exists();
        let connection = opening::open(&path, migrations, is_checked)?;
        if suspicion.exists() {
            std::fs::remove_file(&suspicion).map_err(io(&suspicion))?;
        }
        let (tasks, queue) = mpsc::channel(QUEUE);
        let (committed_tx, committed) = watch::channel(0);
        let failed = Failed::default();
        let permits = Arc::new(Semaphore::new(READERS));
        let lazy = Arc::default();
        let observers = writer::Observers::default();
        let signals = writer::Signals {
            committed: committed_tx,
            observers: Arc::clone(&observers),
            failed: failed.clone(),
            lazy: Arc::clone(&lazy),
        };
        let wal = wal::Wal::new(Arc::clone(&permits));
        let disk = disk_floor::Gauge::new(options.disk_floor, dir);
        let writer = writer::Writer::new(connection, queue, signals, wal, disk, Arc::clone(&lock));
        rt::spawn_thread(format!("{name}-writer"), move || writer.run()).map_err(io(&path))?;
        let readers = Mutex::new(Vec::new());
        let inner = Inner {
            path,
            is_checked,
            tasks,
            lazy,
            committed,
            observers,
            failed,
            readers,
            permits,
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
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
        // There is one writer.
        drop(guard);
        let (reply, answer) = oneshot::channel();
        self.inner.tasks.try_send(task::job(f, after, reply)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => WriteError::Busy,
            mpsc::error::TrySendError::Closed(_) => WriteError::ended(),
        })?;
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
        self.inner.lazy.fetch_add(1, Ordering::SeqCst);
        let queued = self.inner.tasks.send(task::Task::Lazy(Box::new(f))).await;
        queued.map_err(|_| WriteError::ended())
    }

    /// Commits the lazy writes that wait, and returns when they are on disk.
    pub async fn flush(&self) -> Result<(), WriteError<SqlError>> {
        if self.inner.lazy.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.inner.tasks.send(task::Task::Flush(reply)).await.map_err(|_| WriteError::ended())?;
        answer.await.map_err(|_| WriteError::Panicked)?.map_err(WriteError::Unavailable)
    }

    /// Runs `f` on a read-only connection, in one snapshot. Keep it short: a long read holds the log of the
    /// database open.
    pub async fn read<T, F>(&self, f: F) -> Result<T, ReadError>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, SqlError> + Send + 'static,
        T: Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let permit = Arc::clone(&inner.permits).acquire_owned().await.map_err(|_| ReadError::Stopped)?;
        // The read keeps its permit even if its caller has left.
        let read = rt::unblock(move || {
            let result = inner.read(f);
            drop(permit);
            result
        });
        let stopped =
            |error: rt::TaskError| if error.is_panic() { ReadError::Panicked } else { ReadError::Stopped };
        read.await.map_err(stopped)?.map_err(ReadError::from)
    }

    /// Changes with every commit. Take it *before* looking for work: then no commit in between is missed.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.inner.committed.clone()
    }

    /// Whether rows that the database numbers are committed in the order of their numbers: then none ever appears before one
    /// that a reader has seen. So with one writer; several take numbers first, and commit in any order.
    pub fn numbers_in_commit_order(&self) -> bool {
        true
    }

    /// Hands what each commit stored over to a task that waits for it. `read` returns what the store holds after a place,
    /// `None` where there is nothing; it runs on the writer after the commit, so that it must be quick and its result
    /// bounded.
    pub fn hand_over<T, F>(&self, read: F) -> Handover<T>
    where
        F: FnMut(&Tx<'_>, i64) -> Result<Option<T>, SqlError> + Send + 'static,
        T: Send + 'static,
    {
        let (handover, observer) = handover::new(read);
        self.inner.observers.lock().unwrap_or_else(PoisonError::into_inner).push(observer);
        handover
    }

    /// Ends when the disk has failed, the file was found damaged, or the writer has panicked. The process must then end
    /// too: it is uncertain what was written last. The store writes nothing from then on.
    pub async fn failure(&self) -> String {
        let mut failed = self.inner.failed.0.subscribe();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|r| r.clone());
        reason.unwrap_or_else(|| "the writer has ended".to_owned())
    }

    /// Lets the next start check the file before it opens it, however large it is.
    pub fn suspect(&self, why: &str) {
        if let Err(error) = std::fs::write(opening::suspicion(&self.inner.path), why) {
            tracing::warn!(%error, "the next start has to find in the background what is wrong with the file");
        }
    }

    /// Whether the file was checked for damage when it was opened.
    pub fn is_checked(&self) -> bool {
        self.inner.is_checked
    }

    /// Checks a file that was too large to be checked when it was opened, beside the other readers. Damage ends the
    /// store.
    pub async fn check_in_background(&self) {
        if self.is_checked() {
            return;
        }
        match self.check().await {
            Ok(None) => tracing::info!(file = %self.inner.path.display(), "the file is checked"),
            Ok(Some(fault)) => self.end_as_damaged(&fault),
            Err(error) => tracing::warn!(%error, "the file could not be checked"),
        }
    }

    /// Reads every page and checks that they fit together, beside the other readers; returns the first fault.
    pub async fn check(&self) -> Result<Option<String>, ReadError> {
        let inner = Arc::clone(&self.inner);
        // It takes long: on a connection of its own, so that it takes no place from the other readers.
        let check = rt::unblock(move || {
            let fault = inner.open_reader().and_then(|connection| opening::first_fault(&connection));
            fault.map_err(SqlError::from).inspect_err(|error| inner.failed.note(error))
        });
        let stopped =
            |error: rt::TaskError| if error.is_panic() { ReadError::Panicked } else { ReadError::Stopped };
        check.await.map_err(stopped)?.map_err(ReadError::from)
    }

    /// Ends the store because what it holds is damaged, as seen by whoever reads it.
    pub fn end_as_damaged(&self, what: &str) {
        self.inner.failed.end(self.inner.damaged(what));
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

impl Inner {
    fn damaged(&self, what: &str) -> String {
        OpenError::Corrupt { path: self.path.clone(), what: what.to_owned() }.to_string()
    }

    fn read<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, SqlError>) -> Result<T, SqlError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| self.open_reader(), Ok)?;
        let result = in_snapshot(&connection, f);
        if let Err(error) = &result {
            self.failed.note(error);
        }
        // A connection whose transaction could not be ended is not used again.
        if connection.is_autocommit() {
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        result
    }

    fn open_reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(opening::BUSY_TIMEOUT)?;
        // There may be no temporary folder for a sort that is larger than the cache.
        connection.execute_batch("PRAGMA temp_store=MEMORY")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }
}

fn in_snapshot<T>(
    connection: &Connection,
    f: impl FnOnce(&Tx<'_>) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    connection.execute_batch("BEGIN")?;
    let result = f(&Tx::new(connection));
    // The first error is the cause: it may have ended the transaction already.
    let ended = connection.execute_batch("COMMIT");
    result.and_then(|value| ended.map(|()| value).map_err(SqlError::from))
}

/// Why the store has ended, once it has. Clones share it.
#[derive(Clone, Default)]
struct Failed(Arc<watch::Sender<Option<String>>>);

impl Failed {
    /// Ends the store if the error means a failing disk or a damaged file.
    fn note(&self, error: &SqlError) {
        if error.ends_the_store() {
            self.end(error.to_string());
        }
    }

    /// Ends the store. The first reason counts.
    fn end(&self, why: String) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            reason.get_or_insert(why);
            first
        });
    }

    fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
pub(crate) mod tests;
