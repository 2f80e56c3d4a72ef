//! The server fails. What was acknowledged is there.

use super::{Guard, LIMIT, SCHEMA, connect, insert, key, keys, located, psql, until};
use kit::rt::{self, Instant};
use kit::store::{Store, WriteError};
use servers::postgres::Postgres;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn server(parameters: &'static [(&'static str, &'static str)]) -> Option<Postgres> {
    rt::unblock(|| servers::testing::postgres_server(parameters)).await.unwrap()
}

/// Four who write without end, and what they know.
struct Writers {
    stop: CancellationToken,
    tasks: Vec<rt::Task<()>>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    unknown: Arc<Mutex<BTreeSet<String>>>,
}

impl Writers {
    fn of(store: &Store) -> Self {
        let stop = CancellationToken::new();
        let (acknowledged, unknown) =
            (Arc::<Mutex<BTreeSet<_>>>::default(), Arc::<Mutex<BTreeSet<_>>>::default());
        let tasks = (0..4).map(|w| {
            let (store, stop) = (store.clone(), stop.clone());
            let (acknowledged, unknown) = (Arc::clone(&acknowledged), Arc::clone(&unknown));
            rt::spawn(async move {
                for n in 0.. {
                    if stop.is_cancelled() {
                        return;
                    }
                    let name = format!("{w} {n}");
                    match store.write(key(&w.to_string()), insert(name.clone())).await {
                        Ok(()) => drop(acknowledged.lock().unwrap().insert(name)),
                        Err(WriteError::Unknown(_)) => drop(unknown.lock().unwrap().insert(name)),
                        Err(WriteError::Unavailable(_) | WriteError::Busy) => {
                            rt::sleep(Duration::from_millis(10)).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        let tasks = tasks.collect();
        Self { stop, tasks, acknowledged, unknown }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Until more is acknowledged.
    async fn go_on(&self, more: usize) {
        let before = self.count();
        until("writes are acknowledged", async || self.count() >= before + more).await;
    }

    /// What was acknowledged is there, and nothing that was refused.
    async fn check(self, store: &Store) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        let stored: BTreeSet<_> = keys(store).await.into_iter().collect();
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let unknown = self.unknown.lock().unwrap().clone();
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "{lost:?}");
        let surplus: Vec<_> =
            stored.iter().filter(|k| !acknowledged.contains(*k) && !unknown.contains(*k)).collect();
        assert!(surplus.is_empty(), "refused and stored: {surplus:?}");
    }
}

async fn available(store: &Store) {
    let mut availability = store.availability().unwrap();
    rt::timeout(LIMIT, availability.wait_for(Option::is_none)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_restarted() {
    let Some(mut server) = server(&[]).await else { return };
    let store = connect(&located(&server.url("postgres"))).await;
    let writers = Writers::of(&store);
    for _ in 0..2 {
        writers.go_on(100).await;
        server = rt::unblock(move || {
            server.restart().unwrap();
            server
        })
        .await
        .unwrap();
    }
    writers.go_on(100).await;
    available(&store).await;
    writers.check(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_killed() {
    let Some(mut server) = server(&[]).await else { return };
    let store = connect(&located(&server.url("postgres"))).await;
    let writers = Writers::of(&store);
    for _ in 0..2 {
        writers.go_on(100).await;
        server.kill();
        let mut availability = store.availability().unwrap();
        rt::timeout(LIMIT, availability.wait_for(Option::is_some)).await.unwrap().unwrap();
        let refused = store.write(Guard::None, insert("refused")).await;
        assert!(matches!(refused, Err(WriteError::Unavailable(_))), "{refused:?}");
        store.read(|_| Ok(())).await.unwrap_err();
        server = rt::unblock(move || {
            server.restart().unwrap();
            server
        })
        .await
        .unwrap();
        available(&store).await;
    }
    writers.go_on(100).await;
    writers.check(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_paused() {
    let Some(server) = server(&[]).await else { return };
    let store = connect(&located(&server.url("postgres"))).await;
    let writers = Writers::of(&store);
    writers.go_on(100).await;
    server.pause();
    let begun = Instant::now();
    let refused = store.write(Guard::None, insert("no answer")).await;
    assert!(refused.is_err() && begun.elapsed() < Duration::from_secs(40), "{refused:?}");
    let mut availability = store.availability().unwrap();
    rt::timeout(LIMIT, availability.wait_for(Option::is_some)).await.unwrap().unwrap();
    server.resume();
    available(&store).await;
    writers.go_on(100).await;
    writers.stop.cancel();
    // What was on its way when the server stood still may have taken effect since: it was `Unknown`.
    writers.check(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_waited_for() {
    let Some(mut server) = server(&[]).await else { return };
    let location = located(&server.url("postgres"));
    server.stop();
    let store = Store::connect(&location, "s", SCHEMA).await.unwrap();
    let why = store.availability().unwrap().borrow().clone().unwrap();
    assert!(why.contains("127.0.0.1"), "{why}");
    assert!(matches!(store.write(Guard::None, insert("k")).await, Err(WriteError::Unavailable(_))));
    // What nobody waits for is done once it can be.
    let first = rt::spawn({
        let store = store.clone();
        async move { store.lead("relay").await }
    });
    let server = rt::unblock(move || {
        server.restart().unwrap();
        server
    })
    .await
    .unwrap();
    available(&store).await;
    until("it writes", async || store.write(Guard::None, insert("k")).await.is_ok()).await;
    rt::timeout(LIMIT, first).await.unwrap().unwrap();
    assert_eq!(keys(&store).await, ["k"]);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_wait_for_the_standby_is_no_acknowledgement() {
    let Some(server) = server(&[]).await else { return };
    let superuser = server.url("postgres");
    let store = connect(&located(&superuser)).await;
    store.write(Guard::None, insert("before")).await.unwrap();
    psql(&superuser, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    psql(&superuser, "SELECT pg_reload_conf()").await;
    psql(&superuser, "SET synchronous_commit = local; CREATE TABLE seen (n INTEGER)").await;
    let writing = rt::spawn({
        let store = store.clone();
        async move { store.write(Guard::None, insert("waits")).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    until("it waits for the standby", async || psql(&superuser, waiting).await.trim() != "0").await;
    psql(&superuser, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        .await;
    let answer = rt::timeout(LIMIT, writing).await.unwrap().unwrap();
    assert!(matches!(answer, Err(WriteError::Unknown(_))), "{answer:?}");
    // And without anybody's help, at the deadline.
    let begun = Instant::now();
    let answer = store.write(Guard::None, insert("waits too")).await;
    assert!(matches!(answer, Err(WriteError::Unknown(_))), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}
