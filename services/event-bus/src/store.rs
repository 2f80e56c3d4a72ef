//! The bus's database: its schema, and the table of subscriptions.

use crate::log;
use kit::store::{Migration, OpenError, Options, ReadError, Store, WriteError};
use rusqlite::Connection;
use shared::Sequence;
use std::path::Path;

const SUBSCRIPTIONS: &str = "
    CREATE TABLE subscriptions (
        name TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        cursor INTEGER NOT NULL,
        batch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

const MIGRATIONS: &[Migration] = &[&[log::SCHEMA, SUBSCRIPTIONS], &[log::VERIFIED]];

/// Opens or creates `<dir>/event-bus.db`.
pub fn open(dir: &Path, options: Options) -> Result<Store, OpenError> {
    Store::open_with(dir, "event-bus", MIGRATIONS, options)
}

/// A row of the table, from which a delivery continues after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSubscription {
    pub name: String,
    /// Where the subscriber receives deliveries.
    pub url: String,
    /// The last event that it has acknowledged, as far as was saved.
    pub cursor: Sequence,
    /// Whether one request may hold many events.
    pub batch: bool,
}

/// Loads, saves and deletes subscriptions.
#[derive(Debug, Clone)]
pub struct SubscriptionTable {
    store: Store,
}

impl SubscriptionTable {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    pub async fn all(&self) -> Result<Vec<SavedSubscription>, ReadError> {
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

    /// Inserts or updates these subscriptions.
    pub async fn save(
        &self,
        subscriptions: Vec<SavedSubscription>,
    ) -> Result<(), WriteError<rusqlite::Error>> {
        self.store.write(move |tx| save(tx, &subscriptions)).await
    }

    /// [`SubscriptionTable::save`] for cursors that have moved: lost with the process, the events behind them are
    /// delivered again.
    pub async fn save_lazily(
        &self,
        subscriptions: Vec<SavedSubscription>,
    ) -> Result<(), WriteError<rusqlite::Error>> {
        self.store.write_lazily(move |tx| save(tx, &subscriptions)).await
    }

    pub async fn delete(&self, name: String) -> Result<(), WriteError<rusqlite::Error>> {
        self.store
            .write(move |tx| tx.execute("DELETE FROM subscriptions WHERE name = ?1", [name]).map(drop))
            .await
    }
}

fn save(tx: &Connection, subscriptions: &[SavedSubscription]) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO subscriptions (name, url, cursor, batch) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET url = excluded.url, cursor = excluded.cursor, batch = excluded.batch",
    )?;
    for s in subscriptions {
        statement.execute((&s.name, &s.url, s.cursor.get(), s.batch))?;
    }
    Ok(())
}
