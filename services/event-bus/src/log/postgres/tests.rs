use super::*;
use crate::log::conformance::{Engine, conformance, event};
use crate::store;
use kit::store::DatabaseLocation;
use servers::postgres::{Client, Programs};
use std::path::Path;
use tokio_util::sync::DropGuard;

/// A database of its own. Each handle has connections of its own, as a replica has.
struct Database {
    url: String,
}

/// A log that follows the others.
#[derive(Clone)]
struct Replica {
    log: PostgresLog,
    _follows: Arc<DropGuard>,
}

impl Database {
    async fn connect(&self) -> Store {
        let location = DatabaseLocation::Url(self.url.parse().unwrap());
        Store::connect(&location, "event-bus", store::SCHEMA).await.unwrap()
    }

    /// Runs statements beside the log, as its owner; returns what they print.
    async fn psql(&self, sql: &str) -> Result<String, servers::Error> {
        let (url, sql) = (self.url.clone(), sql.to_owned());
        rt::unblock(move || {
            Client::new(Programs::find(Path::new("/nonexistent")).unwrap().psql(), url).run(&sql)
        })
        .await
        .unwrap()
    }
}

async fn replica(store: Store) -> Replica {
    let stopping = CancellationToken::new();
    let log = PostgresLog::open(store).await.unwrap();
    let maintained = log.maintain(stopping.clone());
    // It ends with the last handle.
    rt::spawn(maintained);
    Replica { log, _follows: Arc::new(stopping.drop_guard()) }
}

impl EventLog for Replica {
    fn append(
        &self,
        events: Vec<Envelope>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Sequence>, LogError>> {
        self.log.append(events, now)
    }

    fn read(
        &self,
        after: Sequence,
        limit: usize,
        bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Logged>, LogError>> {
        self.log.read(after, limit, bytes)
    }

    fn read_recent(&self, after: Sequence, limit: usize, max_bytes: usize) -> Option<Vec<Logged>> {
        self.log.read_recent(after, limit, max_bytes)
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.log.head()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.refresh()
    }

    fn maintain(&self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        self.log.maintain(stopping)
    }
}

impl Engine for Database {
    type Log = Replica;

    async fn empty(test: &str) -> Option<Self> {
        let test = format!("log {test}");
        let url = rt::unblock(move || servers::testing::postgres_database(&test)).await.unwrap()?;
        Some(Self { url })
    }

    async fn open(&self) -> Replica {
        replica(self.connect().await).await
    }

    async fn another(&self, _: &Replica) -> Replica {
        self.open().await
    }

    /// Others may have it open.
    async fn closed(&self) {}
}

conformance!(Database);

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_only_appended_to() {
    let Some(database) = Database::empty("append_only").await else { return };
    let log = database.open().await;
    log.append(vec![event("a")], Timestamp::default()).await.unwrap();
    for sql in ["UPDATE events SET recorded_at = 1", "DELETE FROM events", "TRUNCATE events"] {
        let error = database.psql(sql).await.unwrap_err().to_string();
        assert!(error.contains("the log is only appended to"), "{error}");
    }
    assert_eq!(log.read(Sequence::START, 9, usize::MAX).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_missing_event_is_neither_read_nor_skipped() {
    let Some(database) = Database::empty("damage").await else { return };
    let log = database.open().await;
    log.append((0..5).map(|n| event(&n.to_string())).collect(), Timestamp::default()).await.unwrap();
    let damage = async |sql: &str| {
        let sql = format!("ALTER TABLE events DISABLE TRIGGER append_only; {sql}");
        database.psql(&sql).await.unwrap();
    };
    damage("UPDATE events SET envelope = replace(envelope, 'PostCreated', 'P0stCreated') WHERE seq = 3")
        .await;
    let read = async |after| log.read(Sequence::new(after), 9, usize::MAX).await;
    assert_eq!(read(0).await.unwrap().len(), 2, "up to the damaged one");
    let LogError::Damaged { place, what } = read(2).await.unwrap_err() else { panic!() };
    assert!(place.contains("postgres://") && !place.contains(&database.url), "{place}");
    assert!(what.contains("00000000000000000003"), "{what}");
    assert_eq!(read(3).await.unwrap().len(), 2);
    damage("DELETE FROM events WHERE seq = 4").await;
    assert!(matches!(read(3).await, Err(LogError::Damaged { .. })));
    assert_eq!(read(4).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_lost_its_tail_ends_the_replicas_that_knew_it() {
    let Some(database) = Database::empty("lost_tail").await else { return };
    let store = database.connect().await;
    let log = replica(store.clone()).await;
    log.append((0..5).map(|n| event(&n.to_string())).collect(), Timestamp::default()).await.unwrap();
    // As after a failover to a standby that was behind.
    let lose = "ALTER TABLE events DISABLE TRIGGER append_only; DELETE FROM events WHERE seq > 3;
        UPDATE log_head SET seq = 3; ALTER TABLE events ENABLE TRIGGER append_only;";
    database.psql(lose).await.unwrap();
    let ended = rt::timeout(Duration::from_secs(20), store.failure()).await.expect("it is seen");
    assert!(ended.contains("the log has lost its tail: it ended at 00000000000000000005"), "{ended}");
    drop((log, store));
    let log = database.open().await;
    assert_eq!(*log.head().borrow(), Sequence::new(3));
    assert_eq!(log.append(vec![event("new")], Timestamp::default()).await.unwrap(), [Sequence::new(4)]);
    database.psql("UPDATE log_head SET seq = 9").await.unwrap();
    let refused = PostgresLog::open(database.connect().await).await.unwrap_err();
    assert!(refused.to_string().contains("restore it from a backup"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_appended_by_one_call() {
    let Some(database) = Database::empty("grouped").await else { return };
    let log = database.open().await;
    let appends = (0..200).map(|n| log.append(vec![event(&n.to_string())], Timestamp::default()));
    let places = futures_util::future::join_all(appends).await;
    let mut places: Vec<_> = places.into_iter().map(|place| place.unwrap()[0].get()).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=200).collect::<Vec<_>>());
    let transactions = database.psql("SELECT count(DISTINCT xmin::text) FROM events").await.unwrap();
    assert!(transactions.trim().parse::<i64>().unwrap() < 40, "{transactions}");
}
