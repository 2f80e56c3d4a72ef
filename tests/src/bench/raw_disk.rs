//! What the disk and SQLite do without the services.

use rusqlite::{Connection, params};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The size of a page of SQLite, and the least that a commit writes.
const PAGE: usize = 4096;

/// How many pages SQLite's WAL has before it is restarted.
const PAGES: usize = 1_000;

/// A file whose pages are written again and again. It does not grow, as SQLite's log does not once it is warm: a file
/// that grows takes longer.
#[derive(Debug, Clone)]
pub struct RawFile {
    file: Arc<File>,
    at: Arc<AtomicUsize>,
}

impl RawFile {
    pub fn create(folder: &Path) -> Result<Self, String> {
        let path = folder.join("raw");
        let create = || -> std::io::Result<File> {
            let file = File::create(&path)?;
            file.write_all_at(&vec![1; PAGE * PAGES], 0)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { file: Arc::new(file), at: Arc::default() })
    }

    /// Writes a page and waits until it is on disk, for this long; returns how long each took.
    pub async fn syncs(&self, limit: Duration) -> Result<Vec<Duration>, String> {
        let raw = self.clone();
        let syncs = move || -> std::io::Result<Vec<Duration>> {
            let (page, until, mut took) = ([2; PAGE], Instant::now() + limit, Vec::new());
            while Instant::now() < until {
                let (begun, n) = (Instant::now(), raw.at.fetch_add(1, Ordering::Relaxed));
                raw.file.write_all_at(&page, (n % PAGES * PAGE) as u64)?;
                raw.file.sync_data()?;
                took.push(begun.elapsed());
            }
            Ok(took)
        };
        let took = tokio::task::spawn_blocking(syncs).await.map_err(|e| e.to_string())?;
        took.map_err(|e| format!("the raw file: {e}"))
    }
}

/// The rows of a write of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// A new post, and its event in the outbox.
    Post,
    /// An event in the log.
    Event,
}

impl Rows {
    const fn schema(self) -> &'static str {
        match self {
            Self::Post => {
                "CREATE TABLE posts (id TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT NOT NULL,
                     author TEXT NOT NULL, created_at INTEGER, version INTEGER) STRICT;
                 CREATE INDEX posts_by_age ON posts (created_at);
                 CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
                     queued_at INTEGER NOT NULL, envelope TEXT NOT NULL) STRICT;"
            }
            Self::Event => {
                "CREATE TABLE events (seq INTEGER PRIMARY KEY, source TEXT NOT NULL, id TEXT NOT NULL,
                     recorded_at INTEGER NOT NULL, envelope TEXT NOT NULL, checksum INTEGER NOT NULL,
                     UNIQUE (source, id)) STRICT;"
            }
        }
    }

    fn insert(self, c: &Connection, n: u64, envelope: &str) -> rusqlite::Result<()> {
        // Ids of the services: the time comes first, so that the index grows at its end.
        let (id, at) = (format!("{n:016x}-7000-8000-{n:012x}"), n.cast_signed());
        match self {
            Self::Post => {
                c.prepare_cached("INSERT INTO posts VALUES (?1, ?2, '', '', ?3, 1)")?.execute(params![
                    id,
                    "A title of the benchmark",
                    at
                ])?;
                c.prepare_cached("INSERT INTO outbox (id, queued_at, envelope) VALUES (?1, ?2, ?3)")?
                    .execute(params![id, at, envelope])?;
            }
            Self::Event => {
                c.prepare_cached("INSERT INTO events VALUES (?1, '/posts', ?2, ?3, ?4, 1)")?
                    .execute(params![at + 1, id, at, envelope])?;
            }
        }
        Ok(())
    }
}

/// How many writes make the log of a new database about as long as it gets.
const WARM_UP: u64 = 1_000;

/// Opens a new database as the services open theirs.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// A database with the rows of a service, and nothing around it.
#[derive(Debug, Clone)]
pub struct RawStore {
    rows: Rows,
    envelope: String,
    inner: Arc<Mutex<(Connection, u64)>>,
    _folder: Arc<TempDir>,
}

impl RawStore {
    /// A new one whose rows have an envelope of this length. It is warm, as the store of a service is: the log has its
    /// size, and is written from its beginning again.
    pub fn create(folder: &Path, rows: Rows, envelope_bytes: usize) -> Result<Self, String> {
        let folder = tempfile::tempdir_in(folder).map_err(|e| e.to_string())?;
        let create = || -> rusqlite::Result<Connection> {
            let connection = open(&folder.path().join("raw.db"))?;
            connection.execute_batch(rows.schema())?;
            Ok(connection)
        };
        let inner = Arc::new(Mutex::new((create().map_err(failed)?, 0)));
        let raw = Self { rows, envelope: "x".repeat(envelope_bytes), inner, _folder: Arc::new(folder) };
        let warm_up = || -> rusqlite::Result<()> {
            for _ in 0..5 {
                raw.commit(WARM_UP)?;
            }
            let inner = raw.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.0.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
        };
        warm_up().map_err(failed)?;
        Ok(raw)
    }

    fn commit(&self, writes: u64) -> rusqlite::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (connection, n) = &mut *inner;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for _ in 0..writes {
            self.rows.insert(connection, *n, &self.envelope)?;
            *n += 1;
        }
        connection.execute_batch("COMMIT")
    }

    /// Commits so many writes at a time for this long; returns the writes per second.
    pub async fn commits(&self, at_once: u64, limit: Duration) -> Result<f64, String> {
        let raw = self.clone();
        let commits = move || -> rusqlite::Result<f64> {
            let (begun, mut written) = (Instant::now(), 0);
            while begun.elapsed() < limit {
                raw.commit(at_once)?;
                written += at_once;
            }
            Ok(written as f64 / begun.elapsed().as_secs_f64())
        };
        tokio::task::spawn_blocking(commits).await.map_err(|e| e.to_string())?.map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> String {
    format!("raw SQLite: {error}")
}

/// Reads the whole log of a bus that is not running, parses each event once, and merges what it says into one table,
/// 1,000 events to a commit; returns the events per second.
pub fn fold_log(folder: &Path, log: &Path) -> Result<f64, String> {
    let folder = tempfile::tempdir_in(folder).map_err(|e| e.to_string())?;
    let work = || -> rusqlite::Result<f64> {
        let log = Connection::open(log)?;
        let model = open(&folder.path().join("raw.db"))?;
        model.execute_batch(
            "CREATE TABLE rows (id TEXT PRIMARY KEY, post TEXT, data TEXT NOT NULL) STRICT, WITHOUT ROWID",
        )?;
        let (begun, mut n) = (Instant::now(), 0u64);
        let mut statement = log.prepare("SELECT envelope FROM events ORDER BY seq")?;
        let mut events = statement.query([])?;
        model.execute_batch("BEGIN IMMEDIATE")?;
        while let Some(event) = events.next()? {
            merge(&model, event.get_ref(0)?.as_str()?)?;
            n += 1;
            if n.is_multiple_of(1_000) {
                model.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
            }
        }
        model.execute_batch("COMMIT")?;
        Ok(n as f64 / begun.elapsed().as_secs_f64())
    };
    work().map_err(failed)
}

#[derive(serde::Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    id: &'a str,
    post_id: Option<&'a str>,
}

fn merge(model: &Connection, envelope: &str) -> rusqlite::Result<()> {
    let bad = |e: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(e));
    let event: Event<'_> = serde_json::from_str(envelope).map_err(bad)?;
    // Query does nothing with it either.
    if event.kind == "CommentModerated" {
        return Ok(());
    }
    let data: Data<'_> = serde_json::from_str(event.data.get()).map_err(bad)?;
    model
        .prepare_cached(
            "INSERT INTO rows VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
        )?
        .execute(params![data.id, data.post_id, event.data.get()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_is_folded_and_commits_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log.db");
        let c = open(&log).unwrap();
        c.execute_batch(Rows::Event.schema()).unwrap();
        for (n, kind) in ["PostCreated", "CommentCreated", "CommentModerated"].into_iter().enumerate() {
            let event =
                format!(r#"{{"type":"{kind}","data":{{"id":"c{n}","postId":"p","content":"\"x\""}}}}"#);
            Rows::Event.insert(&c, n as u64, &event).unwrap();
        }
        assert!(fold_log(folder.path(), &log).unwrap() > 0.0);
        let moment = Duration::from_millis(5);
        for rows in [Rows::Post, Rows::Event] {
            let raw = RawStore::create(folder.path(), rows, 10).unwrap();
            assert!(raw.commits(3, moment).await.unwrap() > 0.0);
        }
        assert!(!RawFile::create(folder.path()).unwrap().syncs(moment).await.unwrap().is_empty());
    }
}
