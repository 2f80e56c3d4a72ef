//! One SQLite file: one writer that commits for many at once, and readers beside it.
//!
//! All writes of a service go through one thread. It takes as many waiting closures as there are, runs each in a
//! savepoint of its own inside one transaction, commits once, and only then answers them: one `fsync` for many
//! requests (group commit). A closure that fails takes back its own savepoint and nobody else's.
//!
//! The file is in WAL mode with `synchronous=FULL`: what [`Store::write`] has answered is on disk. A file that is
//! damaged is refused when it is opened, and left as it is; a disk that fails ends the store.

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

mod opening;
mod writer;

/// How many closures may wait for the writer; one more is answered [`WriteError::Busy`].
const QUEUE: usize = 8_192;
/// How many readers may read at once.
const READERS: usize = 4;
/// How many prepared statements each connection keeps.
const STATEMENTS: usize = 64;

/// Why a store cannot be opened. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be made or opened.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged; it is left as it is, for whoever can restore it.
    #[error("the database {path} is damaged: {what}; restore it from a backup, or move its files away")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// SQLite cannot use the file; it is left as it is.
    #[error("cannot open the database {path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file was written by a later version of this program.
    #[error(
        "the database {path} has schema {found}, and this program knows only up to {known}: use a newer one"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema found.
        found: usize,
        /// The newest schema known.
        known: usize,
    },
}

/// Why a write was not done. In each case nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The closure itself said no.
    #[error(transparent)]
    Rejected(E),
    /// Too many writes are waiting: try again in a moment.
    #[error("too many writes are waiting")]
    Busy,
    /// The disk does not take it (full, or failing), or the store is closed.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
}

/// Why a read was not done.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite's error.
    #[error("the store cannot read: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The reader was stopped before it had an answer.
    #[error("the reader was stopped")]
    Stopped,
}

/// One step of a schema: the statements of all its parts, run in one transaction.
pub type Migration = &'static [&'static str];

/// A handle to one SQLite file; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    jobs: mpsc::Sender<writer::Message>,
    committed: watch::Receiver<u64>,
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
    /// Opens or makes `<dir>/<name>.db` and brings its schema up to the last of `migrations`.
    pub fn open(dir: &Path, name: &str, migrations: &[Migration]) -> Result<Self, OpenError> {
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
        let connection = opening::open(&path, migrations)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (committed_tx, committed) = watch::channel(0);
        let failed = Failed::default();
        let writer = writer::Writer::new(connection, queue, committed_tx, failed.clone(), Arc::clone(&lock));
        std::thread::Builder::new()
            .name(format!("{name}-writer"))
            .spawn(move || writer.run())
            .map_err(io(&path))?;
        let readers = Mutex::new(Vec::new());
        let permits = Arc::new(Semaphore::new(READERS));
        Ok(Self { inner: Arc::new(Inner { path, jobs, committed, failed, readers, permits, _lock: lock }) })
    }

    /// Runs `f` on the writer; when this answers `Ok`, what `f` wrote is on disk.
    ///
    /// `f` shares its transaction with others and must not begin or end one; it may use savepoints.
    pub async fn write<T, E, F>(&self, f: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = writer::Message::Job(writer::job(f, reply));
        self.inner.jobs.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => WriteError::Busy,
            mpsc::error::TrySendError::Closed(_) => WriteError::Unavailable("it is closed".to_owned()),
        })?;
        answer.await.unwrap_or_else(|_| Err(WriteError::Unavailable("the writer has ended".to_owned())))
    }

    /// Runs `f` on a read-only connection, in one snapshot. Keep it short: a long read holds the log of the
    /// database open.
    pub async fn read<T, F>(&self, f: F) -> Result<T, ReadError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let permit = Arc::clone(&inner.permits).acquire_owned().await.map_err(|_| ReadError::Stopped)?;
        // The read keeps its place also when whoever asked has left.
        let read = tokio::task::spawn_blocking(move || {
            let result = inner.read(f);
            drop(permit);
            result
        });
        read.await.map_err(|_| ReadError::Stopped)?.map_err(ReadError::from)
    }

    /// Changes with every commit. Take it *before* looking for work, so that a commit during the look is not
    /// missed.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.inner.committed.clone()
    }

    /// Ends when the disk has failed or the file was found damaged: whoever depends on the store must then end too,
    /// since what was written last is uncertain. From then on nothing is written any more.
    pub async fn failure(&self) -> String {
        let mut failed = self.inner.failed.0.subscribe();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|r| r.clone());
        reason.unwrap_or_else(|| "the writer has ended".to_owned())
    }

    /// Finishes what is waiting, and closes the file. Later writes are refused.
    pub async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.inner.jobs.send(writer::Message::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

impl Inner {
    fn read<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| self.open_reader(), Ok)?;
        let result = in_snapshot(&connection, f);
        if let Err(error) = &result {
            self.failed.note(error);
        }
        // One whose transaction could not be ended is not used again.
        if connection.is_autocommit() {
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        result
    }

    fn open_reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        // There may be no folder for a sort that is too large for the cache.
        connection.execute_batch("PRAGMA temp_store=MEMORY")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }
}

fn in_snapshot<T>(
    connection: &Connection,
    f: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("BEGIN")?;
    let result = f(connection);
    // What went wrong first is the cause: it may have ended the transaction already.
    let ended = connection.execute_batch("COMMIT");
    result.and_then(|value| ended.map(|()| value))
}

/// Why the store has ended for good, once it has. Clones share it.
#[derive(Clone, Default)]
struct Failed(Arc<watch::Sender<Option<String>>>);

impl Failed {
    /// Looks at an error; one that says that the disk fails or that the file is damaged ends the store.
    fn note(&self, error: &rusqlite::Error) {
        if matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) {
            self.0.send_if_modified(|reason| {
                let first = reason.is_none();
                reason.get_or_insert_with(|| error.to_string());
                first
            });
        }
    }

    fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

/// Reads a column that holds a value as text: an id, a status.
pub fn parsed<T: std::str::FromStr<Err: ToString>>(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|e: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e.to_string().into())
    })
}

/// Whether an error says something about the data at hand (it will come again), and not about the disk or the
/// moment (it may go away).
pub fn is_permanent(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange
        ),
        rusqlite::Error::ToSqlConversionFailure(_)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
