//! A log that is damaged: never read over, never skipped, never repaired in silence.

use crate::subscriber::Subscriber;
use crate::{acknowledges, insecure, publish_posts, row, seq, subscribe};
use event_bus::log::{EventLog, LogError, Logged, SqliteLog};
use kit::store::OpenError;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::Value;
use shared::{Envelope, ProblemKind, Sequence, ServiceName, Timestamp};
use std::path::Path;
use testkit::{World, eventually, get};

/// Changes the file behind the back of the bus.
fn damage(world: &World, sql: &str) {
    let c = Connection::open(world.data_dir(ServiceName::EventBus).join("event-bus.db")).unwrap();
    c.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    assert_eq!(c.execute(sql, []).unwrap(), 1);
}

/// A damaged event is the end of the log for everybody, said loudly; and the next start is refused.
async fn ends_there(sql: &str, said: &str) {
    let (world, bus) = insecure().await;
    publish_posts(&bus, 1, 5).await;
    damage(&world, sql);
    let one = Subscriber::at(&world, "one");
    let single = Subscriber::at(&world, "single");
    subscribe(&bus, "one", 0, true).await.ok(200);
    subscribe(&bus, "single", 0, false).await.ok(200);
    for name in ["one", "single"] {
        acknowledges(&world, &bus, name, 2).await;
        let fails = async || row(&world, &bus, name).await.filter(|row| row["lastError"].is_string());
        let fails = eventually("it is visible", fails).await;
        let error = fails["lastError"].as_str().unwrap();
        assert!(error.contains("event-bus.db is damaged") && error.contains(said), "{error}");
        assert_eq!(fails["cursor"], seq(2));
    }
    assert_eq!(one.sequences(), [[1, 2]]);
    assert_eq!(single.sequences(), [[1], [2]]);

    let read = async |query: &str| bus.send(get(format!("/events{query}")).as_operator(&world)).await;
    assert_eq!(read("?limit=2").await.ok(200).as_array().map(Vec::len), Some(2));
    let problem = read("?after=2").await.problem(ProblemKind::Unavailable);
    assert_eq!(problem.detail, None, "where the log is kept is nobody's business");
    read("?after=2&limit=1").await.problem(ProblemKind::Unavailable);
    // A consumer that was there already is not taken at its word either.
    let register = serde_json::json!({"name": "late", "url": "http://late/events", "cursor": seq(3), "lastId": "x", "batch": true});
    bus.post("/subscriptions", &register).await.problem(ProblemKind::Unavailable);

    world.stop(bus).await;
    let error = world.try_start(world.bus_config(), event_bus::build).await.unwrap_err().to_string();
    assert!(error.contains("event-bus.db is damaged") && error.contains(said), "{error}");
}

#[tokio::test]
async fn a_changed_event_is_neither_delivered_nor_read_nor_skipped() {
    let changed = "the event 00000000000000000003 is not as it was appended";
    ends_there("UPDATE events SET envelope = replace(envelope, 'post 3', 'p0st 3') WHERE seq = 3", changed)
        .await;
    ends_there("UPDATE events SET recorded_at = recorded_at + 1 WHERE seq = 3", changed).await;
}

#[tokio::test]
async fn a_missing_event_is_no_gap_to_step_over() {
    ends_there("DELETE FROM events WHERE seq = 3", "the event 00000000000000000003 is missing").await;
}

async fn open(dir: &Path) -> Result<SqliteLog, OpenError> {
    SqliteLog::open(event_bus::store::open(dir, kit::store::Options::default())?).await
}

async fn all(log: &SqliteLog) -> Result<Vec<Logged>, LogError> {
    log.read(Sequence::START, 1_000, usize::MAX).await
}

#[test]
fn whatever_byte_of_the_file_changes_the_log_is_refused_or_reads_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (whole, events) = runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).await.unwrap();
        let event = |n: i64| -> Envelope {
            serde_json::from_value(serde_json::json!({
                "specversion": "1.0", "id": n.to_string(), "source": "/posts", "type": "PostCreated",
                "data": {"id": n.to_string(), "title": "x".repeat(200)}
            }))
            .unwrap()
        };
        log.append((1..=40).map(event).collect(), Timestamp::from_unix_ms(1)).await.unwrap();
        let events = all(&log).await.unwrap();
        drop(log);
        testkit::store_is_closed(dir.path(), "event-bus").await;
        (std::fs::read(dir.path().join("event-bus.db")).unwrap(), events)
    });
    let refused = std::cell::Cell::new(0);
    let one_byte = (any::<prop::sample::Index>(), 1..=255_u8);
    proptest!(ProptestConfig::with_cases(120), |((at, flip) in one_byte)| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("event-bus.db");
        let mut damaged = whole.clone();
        damaged[at.index(whole.len())] ^= flip;
        std::fs::write(&path, &damaged).unwrap();
        match runtime.block_on(open(dir.path())) {
            Ok(log) => prop_assert_eq!(&runtime.block_on(all(&log)).unwrap(), &events),
            Err(error) => {
                refused.set(refused.get() + 1);
                prop_assert!(error.to_string().contains("event-bus.db"), "{error}");
                let unharmed = std::fs::read(&path).unwrap() == damaged;
                prop_assert!(unharmed || !matches!(error, OpenError::Corrupt { .. }), "it is left as it is");
            }
        }
    });
    assert!(refused.get() > 20, "most of the file is events");
}

#[tokio::test]
async fn a_log_whose_last_writes_are_torn_suspends_consumers_that_have_applied_them() {
    let (world, bus) = insecure().await;
    for n in 1..=9 {
        publish_posts(&bus, n, n).await;
    }
    // What a kill would leave now, with a fault in the middle of what was written since the last checkpoint.
    let file = |name: &str| world.data_dir(ServiceName::EventBus).join(name);
    let (database, mut log) =
        (std::fs::read(file("event-bus.db")).unwrap(), std::fs::read(file("event-bus.db-wal")).unwrap());
    let middle = log.len() * 3 / 4;
    log[middle] ^= 0xff;
    world.stop(bus).await;
    std::fs::write(file("event-bus.db"), database).unwrap();
    std::fs::write(file("event-bus.db-wal"), log).unwrap();
    let bus = world.start_bus().await;

    let left = bus.send(get("/events").as_operator(&world)).await.ok(200).as_array().unwrap().len() as i64;
    assert!((1..9).contains(&left), "SQLite drops everything from the fault on: {left}");
    let (seen, behind) = (Subscriber::at(&world, "seen"), Subscriber::at(&world, "behind"));
    let refused = subscribe(&bus, "seen", 9, true).await;
    assert_eq!(refused.json::<Value>()["head"], seq(left));
    assert!(refused.problem(ProblemKind::Conflict).detail.unwrap().contains("has lost its tail"));
    subscribe(&bus, "behind", 0, true).await.ok(200);
    acknowledges(&world, &bus, "behind", left).await;
    assert!(seen.deliveries().is_empty() && behind.sequences().len() == 1);
}
