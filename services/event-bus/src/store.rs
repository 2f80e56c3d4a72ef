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
            ReadError::Stopped => OpenError::InUse { path: path() },
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(id: &str) -> Envelope {
        serde_json::from_str(&format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/posts","type":"PostCreated","data":{{"id":"{id}","title":"ä\"T"}}}}"#
        ))
        .unwrap()
    }

    async fn append_ids(log: &SqliteLog, ids: &[&str]) -> Vec<i64> {
        let events = ids.iter().map(|id| event(id)).collect();
        let sequences = log.append(events, Timestamp::from_unix_ms(1)).await.unwrap();
        sequences.into_iter().map(Sequence::get).collect()
    }

    #[tokio::test]
    async fn the_same_event_again_keeps_its_place_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(dir.path()).await.unwrap();
        assert_eq!(append_ids(&log, &["a", "b"]).await, [1, 2]);
        assert_eq!(append_ids(&log, &["b", "c", "c", "a", "d"]).await, [2, 3, 3, 1, 4]);
        log.store().close().await;
        drop(log);
        let log = SqliteLog::open(dir.path()).await.unwrap();
        assert_eq!(*log.head().borrow(), Sequence::new(4));
        assert_eq!(append_ids(&log, &["d", "e"]).await, [4, 5]);
    }

    #[tokio::test]
    async fn what_is_on_disk_is_seen_although_the_publisher_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(dir.path()).await.unwrap();
        let mut append = log.append(vec![event("a")], Timestamp::default());
        assert!(futures_util::poll!(&mut append).is_pending(), "begun");
        drop(append);
        let mut head = log.head();
        let seen = head.wait_for(|head| *head == Sequence::new(1));
        tokio::time::timeout(std::time::Duration::from_secs(10), seen)
            .await
            .expect("the log ends there")
            .unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_log_moves_only_once_the_events_are_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(dir.path()).await.unwrap();
        // Two writes that each wait to be let go: the second shares its transaction with an append.
        let held = || {
            let (begin, begun) = tokio::sync::oneshot::channel();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let store = log.store().clone();
            let write = async move {
                let wait = move |tx: &Connection| {
                    let _ = begin.send(last(tx)?);
                    ended.recv().map_err(|_| rusqlite::Error::InvalidQuery)
                };
                store.write(wait).await
            };
            (write, begun, end)
        };
        let (first, begun, release_first) = held();
        let first = tokio::spawn(first);
        assert_eq!(begun.await.unwrap(), Sequence::START);
        let mut appended = log.append(vec![event("a"), event("b")], Timestamp::default());
        assert!(futures_util::poll!(&mut appended).is_pending());
        // The append's own task was made first, and so its events stand first in the queue.
        let (second, begun, release_second) = held();
        let second = tokio::spawn(second);
        release_first.send(()).unwrap();

        assert_eq!(begun.await.unwrap(), Sequence::new(2), "they are in the transaction");
        assert_eq!(*log.head().borrow(), Sequence::START, "and not on disk: nobody sees them");
        assert!(log.read(Sequence::START, 9, usize::MAX).await.unwrap().is_empty());
        assert!(futures_util::poll!(&mut appended).is_pending(), "nor is the publisher told");
        release_second.send(()).unwrap();
        assert_eq!(appended.await.unwrap(), [Sequence::new(1), Sequence::new(2)]);
        assert_eq!(*log.head().borrow(), Sequence::new(2));
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_read_is_what_was_appended_with_its_sequence() {
        let dir = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(dir.path()).await.unwrap();
        append_ids(&log, &["a", "b", "c"]).await;
        let read = log.read(Sequence::new(1), 10, usize::MAX).await.unwrap();
        let envelopes: Vec<Envelope> = read.iter().map(|e| serde_json::from_str(&e.json).unwrap()).collect();
        for (envelope, (id, seq)) in envelopes.iter().zip([("b", 2), ("c", 3)]) {
            assert_eq!(envelope.sequence, Some(Sequence::new(seq)));
            assert_eq!(*envelope, Envelope { sequence: envelope.sequence, ..event(id) });
        }
        assert_eq!(log.read(Sequence::START, 2, usize::MAX).await.unwrap().len(), 2);
        assert_eq!(log.read(Sequence::START, 9, 1).await.unwrap().len(), 1, "one always fits");
        assert!(log.read(Sequence::new(3), 9, usize::MAX).await.unwrap().is_empty());
        assert!(log.read(Sequence::new(99), 9, usize::MAX).await.unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn sequences_have_no_gaps_whatever_is_repeated(batches in prop::collection::vec(prop::collection::vec(0..12_u8, 1..6), 1..12)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let dir = tempfile::tempdir().unwrap();
                let log = SqliteLog::open(dir.path()).await.unwrap();
                let mut first = std::collections::HashMap::new();
                for batch in batches {
                    let events = batch.iter().map(|n| event(&n.to_string())).collect();
                    let sequences = log.append(events, Timestamp::default()).await.unwrap();
                    for (n, sequence) in batch.iter().zip(sequences) {
                        prop_assert_eq!(*first.entry(*n).or_insert(sequence), sequence);
                    }
                }
                let read = log.read(Sequence::START, 100, usize::MAX).await.unwrap();
                let sequences: Vec<i64> = read.iter().map(|e| e.sequence.get()).collect();
                prop_assert_eq!(sequences, (1..=first.len() as i64).collect::<Vec<_>>());
                Ok(())
            })?;
        }
    }
}
