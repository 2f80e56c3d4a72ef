//! The store, on both engines: what every engine does, and what replicas on one database do.

#![allow(clippy::disallowed_methods, reason = "a test goes by the real clock")]

mod conformance;
mod failures;
mod replicas;
mod settings;

use kit::rt;
use kit::store::{DatabaseLocation, Guard, Schema, SqlError, Store, Tx, values};
use servers::postgres::{Client, Programs};
use std::path::Path;
use std::time::Duration;

const TABLES: &[&str] = &["
    CREATE TABLE t (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        amount INTEGER,
        note TEXT,
        yes INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE names (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"];
const SCHEMA: Schema = Schema { present: TABLES, history: &[TABLES], oldest_program: 1 };

/// Long enough on a busy machine; whoever waits so long has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// The URL of an empty database; none where PostgreSQL is not installed.
async fn database(name: &'static str) -> Option<DatabaseLocation> {
    let url = rt::unblock(move || servers::testing::postgres_database(name)).await.unwrap()?;
    Some(located(&url))
}

fn located(url: &str) -> DatabaseLocation {
    DatabaseLocation::Url(url.parse().unwrap())
}

async fn connect(location: &DatabaseLocation) -> Store {
    Store::connect(location, "s", SCHEMA).await.unwrap()
}

/// Runs statements beside the store.
async fn psql(url: &str, sql: impl Into<String>) -> String {
    let (url, sql) = (url.to_owned(), sql.into());
    rt::unblock(move || {
        Client::new(Programs::find(Path::new("/nonexistent")).unwrap().psql(), url).run(&sql).unwrap()
    })
    .await
    .unwrap()
}

/// The URL that a location holds.
fn url_of(location: &DatabaseLocation) -> String {
    let DatabaseLocation::Url(url) = location else { panic!("a file") };
    url.expose().to_owned()
}

fn insert(key: impl Into<String>) -> impl Fn(&Tx<'_>) -> Result<(), SqlError> + Send + 'static {
    let key = key.into();
    move |tx| tx.execute("INSERT INTO t (key) VALUES ($1)", values![&key]).map(drop)
}

async fn keys(store: &Store) -> Vec<String> {
    let read =
        |tx: &Tx<'_>| tx.query("SELECT key FROM t ORDER BY key", &[], |row| Ok(row.text(0)?.to_owned()));
    store.read(read).await.unwrap()
}

fn key(key: &str) -> Guard {
    Guard::Key(key.to_owned())
}

/// Until a condition holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            rt::sleep(Duration::from_millis(5)).await;
        }
    };
    rt::timeout(LIMIT, held).await.unwrap_or_else(|_| panic!("never: {what}"));
}
