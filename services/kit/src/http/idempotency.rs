//! `Idempotency-Key`: a repeated request gets the response of the first one.
//!
//! The key is stored in the same transaction as what the request did, so that a repeated request finds either both
//! or neither.

use crate::http::{ApiError, ApiResult};
use crate::runtime::digest::sha256_hex;
use crate::runtime::secret::MIN_SECRET_BYTES;
use http::HeaderMap;
use rusqlite::{Connection, OptionalExtension};
use shared::text::IDEMPOTENCY_KEY_CHARS;
use shared::{ProblemKind, Timestamp};

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

/// How long a key is stored, in milliseconds: a day.
pub const KEPT_MS: i64 = 86_400_000;

/// The key of a request that may be repeated, with the fingerprint of that request.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    key: String,
    fingerprint: String,
}

/// What is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// Nothing.
    New,
    /// The same request succeeded before, with this response.
    Answered(String),
    /// Another request used the key.
    Reused,
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

/// Runs `act` unless a request with this key succeeded before. Returns the first response, or `None` where another
/// request used the key. Without a key, `act` runs each time.
pub fn run_once(
    tx: &Connection,
    key: Option<&IdempotencyKey>,
    now: Timestamp,
    act: impl FnOnce() -> rusqlite::Result<String>,
) -> rusqlite::Result<Option<String>> {
    let Some(key) = key else { return act().map(Some) };
    match look_up(tx, key)? {
        Known::Answered(response) => Ok(Some(response)),
        Known::Reused => Ok(None),
        Known::New => {
            let response = act()?;
            store(tx, key, &response, now)?;
            Ok(Some(response))
        }
    }
}

fn look_up(tx: &Connection, key: &IdempotencyKey) -> rusqlite::Result<Known> {
    let found: Option<(String, String)> = tx
        .prepare_cached("SELECT fingerprint, answer FROM idempotency WHERE key = ?1")?
        .query_row([&key.key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        None => Known::New,
        Some((fingerprint, response)) if fingerprint == key.fingerprint => Known::Answered(response),
        Some(_) => Known::Reused,
    })
}

/// Stores the response under its key, and deletes those older than a day.
fn store(tx: &Connection, key: &IdempotencyKey, response: &str, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM idempotency WHERE used_at < ?1")?.execute([now.unix_ms() - KEPT_MS])?;
    tx.prepare_cached("INSERT INTO idempotency (key, fingerprint, answer, used_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute((&key.key, &key.fingerprint, response, now.unix_ms()))?;
    Ok(())
}

/// The error where another request used the key: 422.
pub fn reused() -> ApiError {
    ApiError::new(ProblemKind::Invalid).detail("this Idempotency-Key was used for another request")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, request: &str) -> IdempotencyKey {
        let headers = [("idempotency-key".parse().unwrap(), key.parse().unwrap())].into_iter().collect();
        IdempotencyKey::from_headers(&headers, request).unwrap().unwrap()
    }

    #[test]
    fn a_key_gives_its_first_answer_for_a_day() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(SCHEMA).unwrap();
        let (day_one, first) = (Timestamp::from_unix_ms(0), key("k", "a"));
        assert_eq!(look_up(&c, &first).unwrap(), Known::New);
        store(&c, &first, "answer", day_one).unwrap();
        assert_eq!(look_up(&c, &first).unwrap(), Known::Answered("answer".into()));
        assert_eq!(look_up(&c, &key("k", "b")).unwrap(), Known::Reused);
        store(&c, &key("other", "a"), "x", day_one.plus_ms(KEPT_MS)).unwrap();
        assert_eq!(look_up(&c, &first).unwrap(), Known::Answered("answer".into()));
        store(&c, &key("third", "a"), "x", day_one.plus_ms(KEPT_MS + 1)).unwrap();
        assert_eq!(look_up(&c, &first).unwrap(), Known::New);
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
