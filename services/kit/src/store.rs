//! One SQLite file: one writer that commits for many at once, and readers beside it.
//!
//! All writes of a service go through one thread. It takes as many waiting closures as there are, runs each in a
//! savepoint of its own inside one transaction, commits once, and only then answers them: one `fsync` for many
//! requests (group commit). A closure that fails takes back its own savepoint and nobody else's.
//!
//! The file is in WAL mode with `synchronous=FULL`: what [`Store::write`] has answered is on disk.

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

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
    failed: watch::Receiver<Option<String>>,
    readers: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// Held for as long as the file is open, so that no second process writes to it.
    _lock: File,
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
        let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(sqlite)?;
        configure(&connection).map_err(sqlite)?;
        let found = migrate(&mut connection, migrations).map_err(sqlite)?;
        if found > migrations.len() {
            return Err(OpenError::NewerSchema { path, found, known: migrations.len() });
        }
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (committed_tx, committed) = watch::channel(0);
        let (failed_tx, failed) = watch::channel(None);
        let writer = writer::Writer::new(connection, queue, committed_tx, failed_tx);
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
        E: Send + 'static,
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

    /// Ends when the disk has failed for good: whoever depends on the store must then end too, since what was
    /// written last is uncertain.
    pub async fn failure(&self) -> String {
        let mut failed = self.inner.failed.clone();
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
        connection.execute_batch("BEGIN")?;
        let result = f(&connection);
        connection.execute_batch("COMMIT")?;
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }

    fn open_reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let said = format!("the file system does not allow WAL mode (it stays in {mode:?})");
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(said),
        ));
    }
    connection.execute_batch(
        "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA journal_size_limit=8388608; PRAGMA temp_store=MEMORY;",
    )
}

/// Runs the steps that the file has not seen yet; gives back the schema it then has.
fn migrate(connection: &mut Connection, migrations: &[Migration]) -> rusqlite::Result<usize> {
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = found as usize;
    for (at, parts) in migrations.iter().enumerate().skip(found) {
        let step = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for part in *parts {
            step.execute_batch(part)?;
        }
        step.pragma_update(None, "user_version", at as i64 + 1)?;
        step.commit()?;
    }
    Ok(found.max(migrations.len()))
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
pub fn is_about_the_data(error: &rusqlite::Error) -> bool {
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
