//! `Idempotency-Key`: a repeated request creates nothing new, and learns what the first one created.
//!
//! The key is stored in the same transaction as what the request did, so that a repeated request finds either both
//! or neither. With it stands the id of what was created, and not the answer: the service answers from what it stores.

use crate::http::{ApiError, ApiResult};
use crate::rt;
use crate::runtime::deps::Deps;
use crate::runtime::digest::sha256_hex;
use crate::runtime::secret::MIN_SECRET_BYTES;
use crate::store::{Guard, ReadError, SqlError, Store, Tx, WriteError, values};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use shared::text::IDEMPOTENCY_KEY_CHARS;
use shared::{ProblemKind, Timestamp};
use std::borrow::Cow;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The table, for a service's first migration.
pub const SCHEMA: &str = "
    CREATE TABLE idempotency (
        key TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL,
        answer TEXT NOT NULL,
        used_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX idempotency_age ON idempotency (used_at);
";

/// How long a key is stored at least, in milliseconds: a day.
pub const KEPT_MS: i64 = 86_400_000;

/// How often old keys are looked for.
const SWEPT_EVERY: Duration = Duration::from_secs(60);
/// How many old keys one write deletes at most: others wait for it.
const SWEPT_AT_ONCE: u32 = 500;

/// The key of a request that may be repeated, with the fingerprint of that request.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    key: String,
    fingerprint: String,
}

/// The outcome of a request that may have been sent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was new.
    Done(T),
    /// It succeeded before, and created the thing with this id.
    Repeated(String),
    /// Another request used its key.
    KeyReused,
}

/// What is stored under a key. Rows of earlier versions hold more members.
#[derive(Serialize, Deserialize)]
struct Created<'a> {
    id: Cow<'a, str>,
}

impl IdempotencyKey {
    /// Reads the header, if there is one. Two requests with the same key must have the same `request` text.
    pub fn from_headers(headers: &HeaderMap, request: &str) -> ApiResult<Option<Self>> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let key = value.to_str().ok().filter(|k| (1..=IDEMPOTENCY_KEY_CHARS).contains(&k.len()));
        let Some(key) = key else {
            return Err(ApiError::new(ProblemKind::BadRequest).detail(format!(
                "Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_CHARS} printable characters"
            )));
        };
        Ok(Some(Self { key: key.to_owned(), fingerprint: sha256_hex(request.as_bytes()) }))
    }

    /// Whether the key is as long as a secret must be. Clients choose their keys, and short ones (`1`, `retry`) can be
    /// guessed.
    pub fn is_long(&self) -> bool {
        self.key.len() >= MIN_SECRET_BYTES
    }
}

/// Runs `act`, which creates the thing with this id, unless a request with this key succeeded before. Without a key, it
/// runs each time.
pub fn run_once<T>(
    tx: &Tx<'_>,
    key: Option<&IdempotencyKey>,
    now: Timestamp,
    id: &str,
    act: impl FnOnce() -> Result<T, SqlError>,
) -> Result<Outcome<T>, SqlError> {
    let Some(key) = key else { return act().map(Outcome::Done) };
    if !claim(tx, key, id, now)? {
        return known(tx, key);
    }
    act().map(Outcome::Done)
}

/// Stores what is to be created under its key, before that is done: of two requests with one key at the same time, the
/// second finds what the first has created. Returns whether the key is new.
fn claim(tx: &Tx<'_>, key: &IdempotencyKey, id: &str, now: Timestamp) -> Result<bool, SqlError> {
    let created = serde_json::to_string(&Created { id: id.into() }).map_err(SqlError::data)?;
    let claimed = tx.execute(
        "INSERT INTO idempotency (key, fingerprint, answer, used_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
        values![&key.key, &key.fingerprint, &created, now.unix_ms()],
    )?;
    Ok(claimed == 1)
}

/// Deletes keys that are older than a day, each minute, until `stopping`. Not with the requests: those of all replicas would
/// wait for each other to delete the same keys.
pub async fn keep_swept(store: Store, deps: Deps, stopping: CancellationToken) {
    loop {
        if let Err(error) = sweep(&store, deps.clock.now()).await {
            tracing::warn!(%error, "old idempotency keys could not be deleted");
        }
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = rt::sleep(SWEPT_EVERY) => {}
        }
    }
}

/// Deletes all keys that are older than a day.
async fn sweep(store: &Store, now: Timestamp) -> Result<(), SweepError> {
    let before = now.unix_ms() - KEPT_MS;
    // Nearly always there is none, and then nothing has to reach the disk.
    let any = "SELECT EXISTS (SELECT 1 FROM idempotency WHERE used_at < $1)";
    while store.read(move |tx| tx.one(any, values![before], |row| row.bool(0))).await? {
        let some = "DELETE FROM idempotency WHERE key IN
            (SELECT key FROM idempotency WHERE used_at < $1 ORDER BY used_at LIMIT $2)";
        store.write(Guard::None, move |tx| tx.execute(some, values![before, SWEPT_AT_ONCE])).await?;
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError<SqlError>),
}

/// What a request with a key that is stored gets.
fn known<T>(tx: &Tx<'_>, key: &IdempotencyKey) -> Result<Outcome<T>, SqlError> {
    let sql = "SELECT fingerprint, answer FROM idempotency WHERE key = $1";
    tx.one(sql, values![&key.key], |row| {
        if row.text(0)? != key.fingerprint {
            return Ok(Outcome::KeyReused);
        }
        let created: Created<'_> = serde_json::from_str(row.text(1)?).map_err(SqlError::data)?;
        Ok(Outcome::Repeated(created.id.into_owned()))
    })
}

/// The error where what a key names is not stored: 500. The key is stored together with it, so the program is at fault.
pub fn missing(id: &str) -> ApiError {
    tracing::error!(id, "what an idempotency key names is not stored");
    ApiError::new(ProblemKind::Internal)
}

/// The error where another request used the key: 422.
pub fn reused() -> ApiError {
    ApiError::new(ProblemKind::Invalid).detail("this Idempotency-Key was used for another request")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    fn key(key: &str, request: &str) -> IdempotencyKey {
        let headers = [("idempotency-key".parse().unwrap(), key.parse().unwrap())].into_iter().collect();
        IdempotencyKey::from_headers(&headers, request).unwrap().unwrap()
    }

    fn table() -> Memory {
        Memory::new(&[&[SCHEMA]])
    }

    /// What a request with this key gets; 0 where it is the first.
    fn sent(tx: &Tx<'_>, key: &IdempotencyKey, id: &str, now: Timestamp) -> Outcome<u32> {
        run_once(tx, Some(key), now, id, || Ok(0)).unwrap()
    }

    #[test]
    fn a_key_gives_its_first_answer() {
        let table = table();
        let tx = &table.tx();
        let (now, first) = (Timestamp::from_unix_ms(0), key("k", "a"));
        assert_eq!(sent(tx, &first, "id", now), Outcome::Done(0));
        assert_eq!(sent(tx, &first, "other", now), Outcome::Repeated("id".to_owned()));
        assert_eq!(sent(tx, &key("k", "b"), "other", now), Outcome::KeyReused);
    }

    #[tokio::test]
    async fn keys_are_kept_for_a_day_and_deleted_after_it_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "s", &[&[SCHEMA]]).unwrap();
        let many = 2 * SWEPT_AT_ONCE + 1;
        let write = move |tx: &Tx<'_>| {
            for n in 0..many {
                sent(tx, &key(&n.to_string(), "a"), "x", Timestamp::from_unix_ms(0));
            }
            sent(tx, &key("late", "a"), "x", Timestamp::from_unix_ms(1));
            Ok::<_, SqlError>(())
        };
        store.write(Guard::None, write).await.unwrap();
        let sql = "SELECT count(*) FROM idempotency";
        let count = async || store.read(move |tx| tx.one(sql, &[], |row| row.int::<u32>(0))).await.unwrap();
        sweep(&store, Timestamp::from_unix_ms(KEPT_MS)).await.unwrap();
        assert_eq!(count().await, many + 1);
        sweep(&store, Timestamp::from_unix_ms(KEPT_MS + 1)).await.unwrap();
        assert_eq!(count().await, 1, "the late one");
    }

    #[test]
    fn a_key_is_taken_before_its_request_is_carried_out_and_free_again_where_that_fails() {
        let table = table();
        let (tx, now, key) = (&table.tx(), Timestamp::from_unix_ms(0), key("k", "a"));
        let failed = tx.savepoint(|tx| {
            run_once(tx, Some(&key), now, "one", || {
                assert_eq!(sent(tx, &key, "another", now), Outcome::Repeated("one".to_owned()));
                Err::<(), _>(SqlError::data("refused"))
            })
        });
        failed.unwrap_err();
        assert_eq!(sent(tx, &key, "two", now), Outcome::Done(0));
    }

    #[test]
    fn rows_of_earlier_versions_are_read() {
        let table = table();
        let tx = &table.tx();
        let ids = [r#"{"id":"one","pending":["two","three"]}"#, r#"{"id":"one","title":"T","version":1}"#];
        for (n, row) in ids.into_iter().enumerate() {
            let key = key(&n.to_string(), "a");
            let sql = "INSERT INTO idempotency (key, fingerprint, answer, used_at) VALUES ($1, $2, $3, 0)";
            tx.execute(sql, values![&key.key, &key.fingerprint, row]).unwrap();
            let now = Timestamp::from_unix_ms(0);
            assert_eq!(sent(tx, &key, "two", now), Outcome::Repeated("one".to_owned()));
        }
    }

    #[test]
    fn a_key_has_a_length() {
        let headers =
            |key: &str| [("idempotency-key".parse().unwrap(), key.parse().unwrap())].into_iter().collect();
        assert!(IdempotencyKey::from_headers(&headers(&"k".repeat(255)), "").is_ok());
        assert!(IdempotencyKey::from_headers(&headers(&"k".repeat(256)), "").is_err());
        assert!(IdempotencyKey::from_headers(&headers(""), "").is_err());
        assert!(IdempotencyKey::from_headers(&HeaderMap::new(), "").unwrap().is_none());
    }
}
