//! The bus's database: its schema, and the table of subscriptions.

use crate::log;
use kit::store::{
    Guard, Leadership, Migration, OpenError, Options, ReadError, Row, Schema, SqlError, Store, Tx,
    WriteError, values,
};
use shared::{Sequence, Timestamp};
use std::path::Path;
use std::sync::LazyLock;
use tokio::sync::watch;

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

/// What replicas of the bus tell each other: of a registration, the number and whether the consumer had just started; of the
/// deliveries, how they go.
const SHARED: &str = "
    ALTER TABLE subscriptions ADD COLUMN registration INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE subscriptions ADD COLUMN started INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE subscriptions ADD COLUMN lost_tail TEXT;
    ALTER TABLE subscriptions ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE subscriptions ADD COLUMN next_retry INTEGER;
    ALTER TABLE subscriptions ADD COLUMN last_error TEXT;
";

const MIGRATIONS: &[Migration] = &[&[log::SCHEMA, SUBSCRIPTIONS], &[log::VERIFIED], &[SEEN], &[SHARED]];

/// The tables in a database that replicas of the bus share.
pub const SCHEMA: Schema = Schema {
    present: &[SUBSCRIPTIONS, SEEN, SHARED, log::postgres::SCHEMA],
    history: MIGRATIONS,
    oldest_program: 4,
};

/// Opens or creates `<dir>/event-bus.db`.
pub fn open(dir: &Path, options: Options) -> Result<Store, OpenError> {
    Store::open_with(dir, "event-bus", MIGRATIONS, options)
}

/// A row of the table, from which a delivery continues after a restart, or on another replica.
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
    /// Counts the registrations that a replica has noted which does not deliver.
    pub registration: i64,
    /// Whether the consumer had just started at the last of them.
    pub started: bool,
    /// Why deliveries are suspended, if they are.
    pub lost_tail: Option<String>,
    /// How the present delivery goes.
    pub progress: Progress,
}

/// How the present delivery to a subscriber goes, as far as was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    pub attempts: u32,
    pub next_retry: Option<Timestamp>,
    pub last_error: Option<String>,
}

impl SavedSubscription {
    /// One that has just registered.
    pub fn new(name: String, url: String, cursor: Sequence, batch: bool, now: Timestamp) -> Self {
        Self {
            name,
            url,
            cursor,
            batch,
            seen_at: now,
            // Above what a subscription of the same name had that was deleted.
            registration: now.unix_ms(),
            started: false,
            lost_tail: None,
            progress: Progress::default(),
        }
    }
}

const COLUMNS: &str =
    "name, url, cursor, batch, seen_at, registration, started, lost_tail, attempts, next_retry, last_error";

fn row(row: &Row<'_>) -> Result<SavedSubscription, SqlError> {
    let text = |column| Ok::<_, SqlError>(row.opt_text(column)?.map(str::to_owned));
    Ok(SavedSubscription {
        name: row.text(0)?.to_owned(),
        url: row.text(1)?.to_owned(),
        cursor: Sequence::new(row.int(2)?),
        batch: row.bool(3)?,
        seen_at: Timestamp::from_unix_ms(row.int(4)?),
        registration: row.int(5)?,
        started: row.bool(6)?,
        lost_tail: text(7)?,
        progress: Progress {
            attempts: row.int(8)?,
            next_retry: row.opt_int(9)?.map(Timestamp::from_unix_ms),
            last_error: text(10)?,
        },
    })
}

/// Loads, saves and deletes subscriptions.
#[derive(Debug, Clone)]
pub struct SubscriptionTable {
    store: Store,
    is_shared: bool,
}

impl SubscriptionTable {
    /// `is_shared` says whether other replicas of the bus may change it.
    pub fn new(store: Store, is_shared: bool) -> Self {
        Self { store, is_shared }
    }

    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub async fn all(&self) -> Result<Vec<SavedSubscription>, ReadError> {
        self.store.read(|tx| tx.query(&ALL, &[], row)).await
    }

    pub async fn one(&self, name: &str) -> Result<Option<SavedSubscription>, ReadError> {
        let name = name.to_owned();
        self.store.read(move |tx| tx.first(&ONE, values![&name], row)).await
    }

    /// Inserts a subscription, or replaces the one of its name.
    pub async fn insert(&self, subscription: SavedSubscription) -> Result<(), WriteError<SqlError>> {
        self.store.write(guard(&subscription.name), move |tx| insert(tx, &subscription)).await
    }

    /// Notes what has changed, for the replica that delivers.
    pub async fn note<F>(&self, name: String, change: F) -> Result<(), WriteError<SqlError>>
    where
        F: Fn(&mut SavedSubscription) + Send + 'static,
    {
        let guard = guard(&name);
        let write = move |tx: &Tx<'_>| {
            if let Some(mut found) = tx.first(&ONE, values![&name], row)? {
                change(&mut found);
                insert(tx, &found)?;
            }
            Ok(())
        };
        self.store.write(guard, write).await
    }

    /// Saves how far the deliveries are. Lost with the process, the events behind the cursors are delivered again. Leaves alone
    /// what was deleted, or registered at another replica, meanwhile.
    pub async fn update_lazily(
        &self,
        subscriptions: Vec<SavedSubscription>,
    ) -> Result<(), WriteError<SqlError>> {
        let update = move |tx: &Tx<'_>| {
            for s in &subscriptions {
                let Progress { attempts, next_retry, last_error } = &s.progress;
                let next_retry = next_retry.map(Timestamp::unix_ms);
                let (cursor, seen_at) = (s.cursor.get(), s.seen_at.unix_ms());
                tx.execute(
                    UPDATE,
                    values![
                        &s.url,
                        cursor,
                        s.batch,
                        seen_at,
                        &s.lost_tail,
                        *attempts,
                        next_retry,
                        last_error,
                        &s.name,
                        s.registration
                    ],
                )?;
            }
            Ok(())
        };
        self.store.write_lazily(update).await
    }

    pub async fn delete(&self, name: String) -> Result<(), WriteError<SqlError>> {
        let guard = guard(&name);
        let delete = move |tx: &Tx<'_>| {
            tx.execute("DELETE FROM subscriptions WHERE name = $1", values![&name]).map(drop)
        };
        self.store.write(guard, delete).await
    }

    /// Changes with every commit, also of other replicas.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.store.committed()
    }

    /// Waits until this replica is the one that delivers.
    pub async fn lead(&self) -> Leadership {
        self.store.lead("deliveries").await
    }
}

static ALL: LazyLock<String> = LazyLock::new(|| format!("SELECT {COLUMNS} FROM subscriptions ORDER BY name"));
static ONE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {COLUMNS} FROM subscriptions WHERE name = $1"));
const UPDATE: &str = "
    UPDATE subscriptions SET url = $1, cursor = $2, batch = $3, seen_at = $4, lost_tail = $5, attempts = $6,
        next_retry = $7, last_error = $8
    WHERE name = $9 AND registration = $10";

/// Two replicas may change the same subscription.
fn guard(name: &str) -> Guard {
    Guard::Key(format!("subscription {name}"))
}

fn insert(tx: &Tx<'_>, s: &SavedSubscription) -> Result<(), SqlError> {
    let Progress { attempts, next_retry, last_error } = &s.progress;
    tx.execute(
        "INSERT INTO subscriptions
             (name, url, cursor, batch, seen_at, registration, started, lost_tail, attempts, next_retry, last_error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (name) DO UPDATE
             SET url = excluded.url, cursor = excluded.cursor, batch = excluded.batch, seen_at = excluded.seen_at,
                 registration = excluded.registration, started = excluded.started, lost_tail = excluded.lost_tail,
                 attempts = excluded.attempts, next_retry = excluded.next_retry, last_error = excluded.last_error",
        values![
            &s.name,
            &s.url,
            s.cursor.get(),
            s.batch,
            s.seen_at.unix_ms(),
            s.registration,
            s.started,
            &s.lost_tail,
            *attempts,
            next_retry.map(Timestamp::unix_ms),
            last_error
        ],
    )
    .map(drop)
}
