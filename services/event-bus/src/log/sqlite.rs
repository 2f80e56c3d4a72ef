//! The log in SQLite.

use super::recent::Recent;
use super::row::{AppendError, Appended, NewEvent, read, with_sequence};
use super::verification::{self, Verified};
use super::{EventLog, LogError, Logged};
use futures_util::future::BoxFuture;
use kit::store::{Durability, Guard, OpenError, ReadError, SqlError, Store, Tx, values};
use shared::{Envelope, Sequence, Timestamp};
use std::future::ready;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The log's table, for the first migration of the bus's store.
pub const SCHEMA: &str = "
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        envelope TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        UNIQUE (source, id)
    ) STRICT;
";

/// The log of events in a table of the bus's store. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteLog {
    store: Store,
    head: Arc<watch::Sender<Sequence>>,
    recent: Arc<Recent>,
    /// What was found at the start.
    pub(super) verified: Verified,
}

impl SqliteLog {
    /// Reads the log once and refuses one that is damaged. Of a log in a file that the store did not check, because it
    /// is large, only what follows the verified prefix: [`EventLog::maintain`] reads the rest.
    pub async fn open(store: Store) -> Result<Self, OpenError> {
        let path = || store.path().to_owned();
        let failed = |e| match e {
            ReadError::Sql(source) => OpenError::Sql { path: path(), source },
            error => OpenError::Io { path: path(), source: std::io::Error::other(error.to_string()) },
        };
        let corrupt = |what| OpenError::Corrupt { path: path(), what };
        let verified = verification::at_start(&store).await.map_err(failed)?.map_err(corrupt)?;
        let head = Arc::new(watch::Sender::new(verified.head));
        Ok(Self { store, head, recent: Arc::default(), verified })
    }
}

pub(super) fn last(tx: &Tx<'_>) -> Result<Sequence, SqlError> {
    tx.one("SELECT coalesce(max(seq), 0) FROM events", &[], |row| row.int(0)).map(Sequence::new)
}

const INSERT: &str = "
    INSERT INTO events (seq, source, id, recorded_at, envelope, checksum) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING";
const KNOWN: &str = "SELECT seq, envelope FROM events WHERE source = $1 AND id = $2";

fn append(tx: &Tx<'_>, rows: &[NewEvent], now: Timestamp) -> Result<Appended, AppendError> {
    let mut next = last(tx)?.next();
    let mut appended = Appended::default();
    for row in rows {
        let checksum = row.checksum.at(next);
        let values = values![next.get(), &row.source, &row.id, now.unix_ms(), &row.json, checksum];
        if tx.execute(INSERT, values)? == 1 {
            appended.sequences.push(next);
            let json = with_sequence(next, &row.json);
            appended.new.push(Logged { sequence: next, recorded_at: now, json });
            next = next.next();
            continue;
        }
        let (sequence, is_same) = tx.one(KNOWN, values![&row.source, &row.id], |stored| {
            Ok((Sequence::new(stored.int(0)?), row.is_same_event(stored.text(1)?)))
        })?;
        if !is_same {
            return Err(AppendError::Conflict(row.conflict(sequence)));
        }
        appended.sequences.push(sequence);
    }
    Ok(appended)
}

impl EventLog for SqliteLog {
    fn append(
        &self,
        events: Vec<Envelope>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Sequence>, LogError>> {
        Box::pin(async move {
            let rows: Result<Vec<_>, _> = events.into_iter().map(|e| NewEvent::new(e, now)).collect();
            let rows = rows.map_err(|e| LogError::Unavailable(e.to_string()))?;
            let (head, recent) = (Arc::clone(&self.head), Arc::clone(&self.recent));
            // Places are given one after another.
            let guard = Guard::Key("log".to_owned());
            let write = move |tx: &Tx<'_>| append(tx, &rows, now).map(|appended| (appended, Durability::Now));
            // On disk now, and not before: readers and deliveries see the log only up to here. Also where the publisher
            // has left.
            let hand_on = move |appended: &Appended| {
                if let Some(last) = appended.new.last() {
                    recent.push(&appended.new);
                    head.send_replace(last.sequence);
                }
            };
            Ok(self.store.write_then(guard, write, hand_on).await?.sequences)
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
            let events = self.store.read(move |tx| read(tx, after, limit, max_bytes)).await;
            events?.map_err(|damage| LogError::Damaged {
                place: self.store.path().display().to_string(),
                what: damage.to_string(),
            })
        })
    }

    fn read_recent(&self, after: Sequence, limit: usize, max_bytes: usize) -> Option<Vec<Logged>> {
        self.recent.read(after, limit, max_bytes)
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }

    /// There is no other.
    fn refresh(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(ready(Ok(())))
    }

    /// Reads what the start left out, and then what is appended, from the disk, and notes how far the log is verified.
    /// Damage ends the store, and so the process, as it would end a start.
    fn maintain(&self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        let (store, verified, head) = (self.store.clone(), self.verified, self.head.subscribe());
        Box::pin(async move { verification::run(&store, verified, head, &stopping).await })
    }
}

#[cfg(test)]
mod tests;
