//! The log and the subscriptions in SQLite.

use crate::checksum::Checksum;
use crate::log::{EventLog, LogError, Logged};
use futures_util::future::BoxFuture;
use kit::store::{Migration, OpenError, ReadError, Store, WriteError};
use rusqlite::{Connection, OptionalExtension, Row};
use shared::{Envelope, Sequence, Timestamp};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

const MIGRATIONS: &[Migration] = &[&["
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        envelope TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        UNIQUE (source, id)
    ) STRICT;
    CREATE TABLE subscriptions (
        name TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        cursor INTEGER NOT NULL,
        batch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
"]];

/// A subscription as the bus remembers it over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSubscription {
    /// The consumer.
    pub name: String,
    /// Where it takes deliveries.
    pub url: String,
    /// The last event that it has acknowledged, as far as was saved.
    pub cursor: Sequence,
    /// Whether it takes many events in one request.
    pub batch: bool,
}

/// The log of events and the subscriptions, in one file.
#[derive(Debug, Clone)]
pub struct SqliteLog {
    store: Store,
    head: Arc<watch::Sender<Sequence>>,
}

impl SqliteLog {
    /// Opens or makes `<dir>/event-bus.db`, and looks at every event in it.
    pub async fn open(dir: &Path) -> Result<Self, OpenError> {
        let store = Store::open(dir, "event-bus", MIGRATIONS)?;
        let path = || store.path().to_owned();
        let verified = store.read(verify).await.map_err(|e| match e {
            ReadError::Sqlite(source) => OpenError::Sqlite { path: path(), source },
            error => OpenError::Io { path: path(), source: std::io::Error::other(error.to_string()) },
        })?;
        let head =
            verified.map_err(|damage| OpenError::Corrupt { path: path(), what: damage.to_string() })?;
        Ok(Self { store, head: Arc::new(watch::Sender::new(head)) })
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The subscriptions saved.
    pub async fn subscriptions(&self) -> Result<Vec<SavedSubscription>, ReadError> {
        let rows = self.store.read(|c| {
            c.prepare("SELECT name, url, cursor, batch FROM subscriptions ORDER BY name")?
                .query_map([], |row| {
                    Ok(SavedSubscription {
                        name: row.get(0)?,
                        url: row.get(1)?,
                        cursor: Sequence::new(row.get(2)?),
                        batch: row.get(3)?,
                    })
                })?
                .collect()
        });
        rows.await
    }

    /// Saves these subscriptions.
    pub async fn save(
        &self,
        subscriptions: Vec<SavedSubscription>,
    ) -> Result<(), WriteError<rusqlite::Error>> {
        let save = move |tx: &Connection| {
            let mut statement = tx.prepare_cached(
                "INSERT INTO subscriptions (name, url, cursor, batch) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET url = excluded.url, cursor = excluded.cursor, batch = excluded.batch",
            )?;
            for s in subscriptions {
                statement.execute((s.name, s.url, s.cursor.get(), s.batch))?;
            }
            Ok(())
        };
        self.store.write(save).await
    }

    /// Forgets a subscription.
    pub async fn forget(&self, name: String) -> Result<(), WriteError<rusqlite::Error>> {
        self.store
            .write(move |tx| tx.execute("DELETE FROM subscriptions WHERE name = ?1", [name]).map(drop))
            .await
    }
}

fn last(c: &Connection) -> rusqlite::Result<Sequence> {
    c.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))
        .map(Sequence::new)
}

/// An envelope ready to be stored: serialised before it comes to the writer's thread.
struct NewEvent {
    source: String,
    id: String,
    json: String,
    checksum: Checksum,
}

/// An event that is not as it was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Damage {
    #[error("the event {0} is not as it was appended: its checksum is wrong")]
    Changed(Sequence),
    #[error("the event {0} is missing")]
    Missing(Sequence),
}

fn append(tx: &Connection, rows: &[NewEvent], now: Timestamp) -> rusqlite::Result<Vec<Sequence>> {
    let mut known = tx.prepare_cached("SELECT seq FROM events WHERE source = ?1 AND id = ?2")?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO events (seq, source, id, recorded_at, envelope, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
    )?;
    let mut next = last(tx)?.next();
    let mut sequences = Vec::with_capacity(rows.len());
    for row in rows {
        let checksum = row.checksum.at(next);
        let added = insert.execute((next.get(), &row.source, &row.id, now.unix_ms(), &row.json, checksum))?;
        if added == 1 {
            sequences.push(next);
            next = next.next();
        } else {
            let seq: Option<i64> = known.query_row((&row.source, &row.id), |r| r.get(0)).optional()?;
            sequences.push(Sequence::new(seq.ok_or(rusqlite::Error::QueryReturnedNoRows)?));
        }
    }
    Ok(sequences)
}

/// The rows after a place, in the columns that [`checked`] reads.
const AFTER: &str =
    "SELECT seq, source, id, recorded_at, envelope, checksum FROM events WHERE seq > ?1 ORDER BY seq";

/// Looks whether a row is the event of this place, as it was appended; gives back when that was, and its envelope.
fn checked<'r>(
    row: &'r Row<'_>,
    expected: Sequence,
) -> rusqlite::Result<Result<(Timestamp, &'r str), Damage>> {
    if row.get::<_, i64>(0)? != expected.get() {
        return Ok(Err(Damage::Missing(expected)));
    }
    // Text that is no longer UTF-8 is no error of SQLite's, but one of the row's.
    let text = |column| row.get_ref(column).map(|value| value.as_str().unwrap_or_default());
    let (source, id, envelope) = (text(1)?, text(2)?, text(4)?);
    let recorded_at = Timestamp::from_unix_ms(row.get(3)?);
    let whole = Checksum::of(source, id, recorded_at, envelope).at(expected) == row.get::<_, i64>(5)?;
    Ok(if whole { Ok((recorded_at, envelope)) } else { Err(Damage::Changed(expected)) })
}

/// Reads the whole log; gives back its head.
fn verify(c: &Connection) -> rusqlite::Result<Result<Sequence, Damage>> {
    let mut statement = c.prepare(AFTER)?;
    let mut rows = statement.query([0])?;
    let mut head = Sequence::START;
    while let Some(row) = rows.next()? {
        if let Err(damage) = checked(row, head.next())? {
            return Ok(Err(damage));
        }
        head = head.next();
    }
    Ok(Ok(head))
}

/// Reads up to the first event that is damaged; one that is the first of all is the answer.
fn read(
    c: &Connection,
    after: Sequence,
    limit: usize,
    max_bytes: usize,
) -> rusqlite::Result<Result<Vec<Logged>, Damage>> {
    let mut statement = c.prepare_cached(AFTER)?;
    let mut rows = statement.query([after.get()])?;
    let (mut events, mut bytes, mut sequence) = (Vec::new(), 0, after);
    while events.len() < limit
        && let Some(row) = rows.next()?
    {
        sequence = sequence.next();
        let (recorded_at, envelope) = match checked(row, sequence)? {
            Ok(whole) => whole,
            Err(damage) if events.is_empty() => return Ok(Err(damage)),
            Err(_) => break,
        };
        bytes += envelope.len();
        if bytes > max_bytes && !events.is_empty() {
            break;
        }
        // The sequence is the bus's word, not the publisher's: it is kept apart and put in front here.
        let json = format!("{{\"sequence\":\"{sequence}\",{}", envelope.get(1..).unwrap_or_default());
        events.push(Logged { sequence, recorded_at, json });
    }
    Ok(Ok(events))
}

impl EventLog for SqliteLog {
    fn append(
        &self,
        events: Vec<Envelope>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Sequence>, LogError>> {
        Box::pin(async move {
            let rows: Result<Vec<NewEvent>, serde_json::Error> = events
                .into_iter()
                .map(|mut e| {
                    e.sequence = None;
                    let json = serde_json::to_string(&e)?;
                    let (source, id) = (e.source.unwrap_or_default(), e.id.unwrap_or_default());
                    // Here and not on the writer's thread, which all wait for.
                    let checksum = Checksum::of(&source, &id, now, &json);
                    Ok(NewEvent { source, id, json, checksum })
                })
                .collect();
            let rows = rows.map_err(|e| LogError::Unavailable(e.to_string()))?;
            let (store, head) = (self.store.clone(), Arc::clone(&self.head));
            // A task of its own: whoever asked may leave before the answer, and what is on disk must be seen.
            let appended = tokio::spawn(async move {
                let sequences = store.write(move |tx| append(tx, &rows, now)).await;
                let sequences = sequences
                    .map_err(|e: WriteError<rusqlite::Error>| LogError::Unavailable(e.to_string()))?;
                // On disk now, and not before: readers and deliveries see the log only up to here.
                if let Some(last) = sequences.iter().max() {
                    head.send_if_modified(|head| {
                        let grows = last > head;
                        *head = (*head).max(*last);
                        grows
                    });
                }
                Ok(sequences)
            });
            appended.await.map_err(|e| LogError::Unavailable(e.to_string()))?
        })
    }

    fn read(
        &self,
        after: Sequence,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Logged>, LogError>> {
        Box::pin(async move {
            let head = *self.head.borrow();
            let limit = limit.min(usize::try_from(head.get() - after.get()).unwrap_or(0));
            if limit == 0 {
                return Ok(Vec::new());
            }
            let events = self.store.read(move |c| read(c, after, limit, max_bytes)).await;
            let events = events.map_err(|e| LogError::Unavailable(e.to_string()))?;
            events.map_err(|damage| LogError::Damaged {
                place: self.store.path().display().to_string(),
                what: damage.to_string(),
            })
        })
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }
}

#[cfg(test)]
mod tests;
