//! Keeps the write-ahead log (WAL) short.
//!
//! SQLite's own checkpoints copy what no reader needs any more, but restart the WAL only in a moment without readers.
//! Where reads always overlap, that moment never comes, and the WAL grows without end. So the writer makes one: where the
//! WAL is long, it lets no new read begin, waits for those under way, and runs a checkpoint that restarts the WAL.

use crate::rt::{self, Instant};
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The WAL is copied into the database after each this many pages.
const COPY_PAGES: usize = 1_000;
/// The length, in pages, from which the WAL is restarted, although that makes reads wait.
const RESTART_PAGES: usize = 4_000;
/// How long the writer waits for the reads under way, at first. Doubled each time that it was not enough.
const PATIENCE: Duration = Duration::from_millis(100);
/// Until it reaches this.
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// The length of the WAL, and what was done about it.
pub(super) struct Wal {
    /// As of the last commit.
    pages: Arc<AtomicUsize>,
    /// The length at which it was copied last.
    copied: usize,
    patience: Duration,
    readers: Arc<Semaphore>,
}

impl Wal {
    /// `readers` has a permit for each read under way.
    pub(super) fn new(readers: Arc<Semaphore>) -> Self {
        Self { pages: Arc::default(), copied: 0, patience: PATIENCE, readers }
    }

    /// Takes the place of SQLite's own checkpoints, which would run at the end of each commit to a long WAL.
    pub(super) fn watch(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let pages = Arc::clone(&self.pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, length| {
            pages.store(usize::try_from(length).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// To be called after each commit, outside of a transaction.
    pub(super) fn keep_short(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.copied {
            // SQLite has restarted it by itself.
            (self.copied, self.patience) = (0, PATIENCE);
        }
        if pages < self.copied + COPY_PAGES {
            return Ok(());
        }
        self.copied = pages;
        checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
        if pages >= RESTART_PAGES {
            self.restart(connection, pages)?;
        }
        Ok(())
    }

    fn restart(&mut self, connection: &Connection, pages: usize) -> rusqlite::Result<()> {
        let all = u32::try_from(super::sqlite::READERS).unwrap_or(u32::MAX);
        let deadline = Instant::now() + self.patience;
        // Nobody closes the semaphore.
        let paused = rt::block_on(self.readers.acquire_many(all), Some(deadline)).and_then(Result::ok);
        let Some(_paused) = paused else {
            let wait_ms = self.patience.as_millis();
            tracing::debug!(pages, wait_ms, "reads under way keep the WAL from being restarted");
            self.patience = (2 * self.patience).min(MOST_PATIENCE);
            return Ok(());
        };
        // A check of the whole file, or another process, may be reading it: these are not waited for.
        connection.busy_timeout(Duration::ZERO)?;
        let restarted = checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)");
        connection.busy_timeout(super::opening::BUSY_TIMEOUT)?;
        if restarted? {
            self.pages.store(0, Ordering::Relaxed);
            (self.copied, self.patience) = (0, PATIENCE);
        }
        Ok(())
    }
}

/// Returns whether it did all that was to do.
fn checkpoint(connection: &Connection, sql: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0).map(|busy| busy == 0))
}
