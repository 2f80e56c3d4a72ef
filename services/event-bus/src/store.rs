//! The bus's database: its schema, and the table of subscriptions.

use crate::log;
#[cfg(feature = "postgres")]
use kit::store::Schema;
use kit::store::{Guard, Migration, OpenError, Options, ReadError, SqlError, Store, Tx, WriteError, values};
use shared::{Sequence, Timestamp};
use std::path::Path;

const SUBSCRIPTIONS: &str = "
    CREATE TABLE subscriptions (
        name TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        cursor INTEGER NOT NULL,
        batch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// 0 for a subscription from before this step: none of those is an instance, which alone are forgotten.
const SEEN: &str = "ALTER TABLE subscriptions ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;";

const MIGRATIONS: &[Migration] = &[&[log::SCHEMA, SUBSCRIPTIONS], &[log::VERIFIED], &[SEEN]];

/// The tables in a database that replicas of the bus share.
#[cfg(feature = "postgres")]
pub const SCHEMA: Schema = Schema {
    present: &[SUBSCRIPTIONS, SEEN, log::postgres::SCHEMA],
    history: MIGRATIONS,
    oldest_program: MIGRATIONS.len(),
};

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
    /// When it registered last. Saved at most once an hour, or with a cursor that has moved.
    pub seen_at: Timestamp,
}

const ALL: &str = "SELECT name, url, cursor, batch, seen_at FROM subscriptions ORDER BY name";

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
        let rows = self.store.read(|tx| {
            tx.query(ALL, &[], |row| {
                Ok(SavedSubscription {
                    name: row.text(0)?.to_owned(),
                    url: row.text(1)?.to_owned(),
                    cursor: Sequence::new(row.int(2)?),
                    batch: row.bool(3)?,
                    seen_at: Timestamp::from_unix_ms(row.int(4)?),
                })
            })
        });
        rows.await
    }

    /// Inserts or updates these subscriptions.
    pub async fn save(&self, subscriptions: Vec<SavedSubscription>) -> Result<(), WriteError<SqlError>> {
        self.store.write(Guard::None, move |tx| save(tx, &subscriptions)).await
    }

    /// [`SubscriptionTable::save`] for cursors that have moved: lost with the process, the events behind them are
    /// delivered again.
    pub async fn save_lazily(
        &self,
        subscriptions: Vec<SavedSubscription>,
    ) -> Result<(), WriteError<SqlError>> {
        self.store.write_lazily(move |tx| save(tx, &subscriptions)).await
    }

    pub async fn delete(&self, name: String) -> Result<(), WriteError<SqlError>> {
        self.store
            .write(Guard::None, move |tx| {
                tx.execute("DELETE FROM subscriptions WHERE name = $1", values![&name]).map(drop)
            })
            .await
    }
}

fn save(tx: &Tx<'_>, subscriptions: &[SavedSubscription]) -> Result<(), SqlError> {
    for s in subscriptions {
        tx.execute(
            "INSERT INTO subscriptions (name, url, cursor, batch, seen_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO UPDATE
                 SET url = excluded.url, cursor = excluded.cursor, batch = excluded.batch, seen_at = excluded.seen_at",
            values![&s.name, &s.url, s.cursor.get(), s.batch, s.seen_at.unix_ms()],
        )?;
    }
    Ok(())
}
