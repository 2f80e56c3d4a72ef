use crate::log::{EventLog, SqliteLog};
use crate::store;
use kit::rt;
use kit::store::{OpenError, Options, Store};
use rusqlite::Connection;
use shared::{Envelope, Sequence, Timestamp};
use std::path::Path;
use std::time::Duration;
use testkit::{eventually, store_is_closed};
use tokio_util::sync::CancellationToken;

/// A large log, as far as the store is concerned.
const LARGE: u64 = 0;
const SMALL: u64 = u64::MAX;

/// A running log with its background task.
struct Running {
    store: Store,
    log: SqliteLog,
    stopping: CancellationToken,
    task: rt::Task<()>,
}

impl Running {
    async fn open(dir: &Path, check_up_to: u64) -> Result<Self, OpenError> {
        let store = store::open(dir, Options { check_up_to, ..Options::default() })?;
        let log = SqliteLog::open(store.clone()).await?;
        let stopping = CancellationToken::new();
        let task = {
            let (log, stopping) = (log.clone(), stopping.clone());
            rt::spawn(log.maintain(stopping))
        };
        Ok(Self { store, log, stopping, task })
    }

    async fn append(&self, numbers: std::ops::RangeInclusive<i64>) {
        let event = |n: i64| -> Envelope {
            let data = serde_json::json!({"id": n.to_string(), "title": "T"});
            let event = serde_json::json!({"id": n.to_string(), "source": "/posts", "type": "PostCreated", "data": data});
            serde_json::from_value(event).unwrap()
        };
        self.log.append(numbers.map(event).collect(), Timestamp::from_unix_ms(1)).await.unwrap();
    }

    fn head(&self) -> i64 {
        self.log.head().borrow().get()
    }

    async fn verified_to(&self) -> i64 {
        self.store.flush().await.unwrap();
        self.store.read(|tx| tx.one("SELECT seq FROM verified", &[], |row| row.int(0))).await.unwrap()
    }

    async fn stop(self, dir: &Path) {
        let Self { store, log, stopping, task } = self;
        stopping.cancel();
        task.await.unwrap();
        drop((store, log));
        store_is_closed(dir, "event-bus").await;
    }
}

/// Changes a letter of an event in a log that is closed.
fn damage(dir: &Path, sequence: i64) {
    let c = Connection::open(dir.join("event-bus.db")).unwrap();
    let sql = "UPDATE events SET envelope = replace(envelope, 'PostCreated', 'P0stCreated') WHERE seq = ?1";
    assert_eq!(c.execute(sql, [sequence]).unwrap(), 1);
}

/// A log of 9 events, of which the first 6 are verified.
async fn six_of_nine(dir: &Path) {
    let log = Running::open(dir, SMALL).await.unwrap();
    log.append(1..=6).await;
    log.stop(dir).await;
    let log = Running::open(dir, SMALL).await.unwrap();
    eventually("the start is noted", async || (log.verified_to().await == 6).then_some(())).await;
    log.append(7..=9).await;
    log.stop(dir).await;
}

#[tokio::test]
async fn damage_behind_the_verified_prefix_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    six_of_nine(dir.path()).await;
    damage(dir.path(), 7);
    let refused = Running::open(dir.path(), LARGE).await.map(drop).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Corrupt { what, .. } if what.contains("00000000000000000007")),
        "{refused}"
    );
}

#[tokio::test]
async fn damage_in_the_verified_prefix_is_found_in_the_background_and_ends_the_store() {
    let dir = tempfile::tempdir().unwrap();
    six_of_nine(dir.path()).await;
    damage(dir.path(), 3);
    let refused = Running::open(dir.path(), SMALL).await.map(drop).unwrap_err();
    let OpenError::Corrupt { path, what } = refused else { panic!("{refused}") };
    store_is_closed(dir.path(), "event-bus").await;
    let log = Running::open(dir.path(), LARGE).await.expect("only what follows the prefix is read");
    assert_eq!(log.head(), 9);
    let ended = rt::timeout(Duration::from_secs(20), log.store.failure()).await.expect("it is found");
    let said = OpenError::Corrupt { path, what }.to_string();
    assert_eq!(ended, said, "as the start would say it");
    let append = log.log.append(vec![], Timestamp::from_unix_ms(1)).await;
    assert!(append.is_err(), "nothing is written any more");
    log.stop(dir.path()).await;
    let refused = Running::open(dir.path(), LARGE).await.map(drop).unwrap_err();
    assert_eq!(refused.to_string(), said, "and the next start does say it");
}

#[tokio::test]
async fn a_large_log_that_is_whole_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    six_of_nine(dir.path()).await;
    let log = Running::open(dir.path(), LARGE).await.unwrap();
    eventually("its tail is verified", async || (log.verified_to().await == 9).then_some(())).await;
    log.append(10..=11).await;
    assert_eq!(log.head(), 11);
    log.stop(dir.path()).await;
}

#[tokio::test]
async fn what_is_appended_is_verified_while_the_bus_runs() {
    let dir = tempfile::tempdir().unwrap();
    let log = Running::open(dir.path(), SMALL).await.unwrap();
    log.append(1..=super::STEP - 1).await;
    log.append(super::STEP..=super::STEP + 1).await;
    eventually("it is noted", async || (log.verified_to().await >= super::STEP).then_some(())).await;
    log.stop(dir.path()).await;
}

#[tokio::test]
async fn a_log_that_lost_verified_events_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    six_of_nine(dir.path()).await;
    let c = Connection::open(dir.path().join("event-bus.db")).unwrap();
    assert_eq!(c.execute("DELETE FROM events WHERE seq > 4", []).unwrap(), 5);
    drop(c);
    let log = Running::open(dir.path(), LARGE).await.unwrap();
    assert_eq!(log.head(), 4);
    assert_eq!(log.log.verified.unread, Sequence::START);
    log.stop(dir.path()).await;
}
