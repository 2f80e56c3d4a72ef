//! One SQLite file: one writer that commits for many at once, and readers beside it.
//!
//! All writes of a service go through one thread. It takes all waiting closures, runs each in its own savepoint
//! inside one transaction, commits once, and only then answers them: one `fsync` for many requests (group commit). A
//! closure that fails rolls back its own savepoint only.
//!
//! The file is in WAL mode with `synchronous=FULL`: when a write returns `Ok`, it is on disk. A write that may be lost with
//! the process waits in the open transaction for the next commit, at most [`super::LAZY_LIMIT`]. Writes take effect in the
//! order in which they came, lazy or not.
//!
//! A damaged file is refused when it is opened, and left as it is; a disk that fails ends the store. Below the floor of
//! free disk space ([`Options`]) writes are refused before SQLite meets a full disk.

use super::task::{Flush, Job, LazyWrite, Task};
use super::{
    Migration, OpenError, Options, ReadError, STATEMENTS, SqlError, Tx, disk_floor, opening, wal, writer,
};
use crate::rt;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc, watch};

/// The most closures that may wait for the writer.
pub(super) const QUEUE: usize = 8_192;
/// The most simultaneous readers.
pub(super) const READERS: usize = 4;

/// One file.
pub(super) struct Sqlite {
    pub(super) path: PathBuf,
    pub(super) is_checked: bool,
    pub(super) tasks: mpsc::Sender<Task>,
    /// How many lazy writes wait for a commit.
    lazy: Arc<AtomicUsize>,
    pub(super) committed: watch::Receiver<u64>,
    pub(super) observers: writer::Observers,
    pub(super) failed: Failed,
    pub(super) readers: Mutex<Vec<Connection>>,
    pub(super) permits: Arc<Semaphore>,
    /// Held for as long as the file is open, here or on the writer, so that no second process writes to it.
    _lock: Arc<File>,
}

impl Sqlite {
    pub(super) fn open(
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
        Ok(Self {
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
        })
    }

    /// Queues a write.
    pub(super) fn submit(&self, job: Box<dyn Job>) -> Result<(), Refused> {
        self.tasks.try_send(Task::Write(job)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Refused::Busy,
            mpsc::error::TrySendError::Closed(_) => Refused::Ended,
        })
    }

    pub(super) async fn write_lazily(&self, write: LazyWrite) -> Result<(), Refused> {
        self.lazy.fetch_add(1, Ordering::SeqCst);
        self.tasks.send(Task::Lazy(write)).await.map_err(|_| Refused::Ended)
    }

    pub(super) async fn flush(&self, reply: Flush) -> Result<(), Refused> {
        if self.lazy.load(Ordering::SeqCst) == 0 {
            let _ = reply.send(Ok(()));
            return Ok(());
        }
        self.tasks.send(Task::Flush(reply)).await.map_err(|_| Refused::Ended)
    }

    pub(super) async fn read<T, F>(self: Arc<Self>, f: F) -> Result<T, ReadError>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, SqlError> + Send + 'static,
        T: Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| ReadError::Stopped)?;
        // The read keeps its permit even if its caller has left.
        let read = rt::unblock(move || {
            let result = self.read_now(f);
            drop(permit);
            result
        });
        read.await.map_err(|error| stopped(&error))?.map_err(ReadError::from)
    }

    /// Lets the next start check the file before it opens it, however large it is.
    pub(super) fn suspect(&self, why: &str) {
        if let Err(error) = std::fs::write(opening::suspicion(&self.path), why) {
            tracing::warn!(%error, "the next start has to find in the background what is wrong with the file");
        }
    }

    /// Reads every page and checks that they fit together, beside the other readers; returns the first fault.
    pub(super) async fn check(self: Arc<Self>) -> Result<Option<String>, ReadError> {
        // It takes long: on a connection of its own, so that it takes no place from the other readers.
        let check = rt::unblock(move || {
            let fault = self.open_reader().and_then(|connection| opening::first_fault(&connection));
            fault.map_err(SqlError::from).inspect_err(|error| self.failed.note(error))
        });
        check.await.map_err(|error| stopped(&error))?.map_err(ReadError::from)
    }

    pub(super) fn damaged(&self, what: &str) -> String {
        OpenError::Corrupt { path: self.path.clone(), what: what.to_owned() }.to_string()
    }

    fn read_now<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, SqlError>) -> Result<T, SqlError> {
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

/// Why a task was not queued.
pub(super) enum Refused {
    Busy,
    Ended,
}

fn stopped(error: &rt::TaskError) -> ReadError {
    if error.is_panic() { ReadError::Panicked } else { ReadError::Stopped }
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
pub(super) struct Failed(Arc<watch::Sender<Option<String>>>);

impl Failed {
    /// Ends the store if the error means a failing disk or a damaged file.
    pub(super) fn note(&self, error: &SqlError) {
        if error.ends_the_store() {
            self.end(error.to_string());
        }
    }

    /// Ends the store. The first reason counts.
    pub(super) fn end(&self, why: String) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            reason.get_or_insert(why);
            first
        });
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Ends once the store has ended.
    pub(super) async fn seen(&self) -> String {
        let mut failed = self.0.subscribe();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|r| r.clone());
        reason.unwrap_or_else(|| "the writer has ended".to_owned())
    }
}
