//! Several replicas on one database.

use super::{Guard, LIMIT, SCHEMA, connect, database, insert, key, keys, psql, until, url_of};
use kit::http::idempotency::{self, IdempotencyKey, Outcome};
use kit::rt::{self, Instant};
use kit::store::{Schema, SqlError, Store, Tx, WriteError, values};
use shared::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_start_on_an_empty_database() {
    let Some(location) = database("three replicas").await else { return };
    let stores = futures_util::future::join_all((0..3).map(|_| connect(&location))).await;
    for (n, store) in stores.iter().enumerate() {
        store.write(key("k"), insert(n.to_string())).await.unwrap();
    }
    assert_eq!(keys(&stores[0]).await, ["0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_one_key_follow_each_other_on_all_replicas() {
    let Some(location) = database("one key").await else { return };
    let stores = [connect(&location).await, connect(&location).await];
    stores[0].write(Guard::None, insert("k")).await.unwrap();
    let adds = (0..100).map(|n| {
        stores[n % 2].write(key("k"), |tx| {
            let amount: Option<i64> = tx.one("SELECT amount FROM t", &[], |row| row.opt_int(0))?;
            tx.execute("UPDATE t SET amount = $1", values![amount.unwrap_or(0) + 1])
        })
    });
    for added in futures_util::future::join_all(adds).await {
        added.unwrap();
    }
    let amount = stores[0].read(|tx| tx.one("SELECT amount FROM t", &[], |row| row.int::<i64>(0)));
    assert_eq!(amount.await.unwrap(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_on_two_replicas_is_one_act() {
    const TABLES: &[&str] = &[super::TABLES[0], idempotency::SCHEMA];
    const SCHEMA: Schema = Schema { present: TABLES, history: &[TABLES], oldest_program: 1 };
    let Some(location) = database("one act").await else { return };
    let stores = [
        Store::connect(&location, "s", SCHEMA).await.unwrap(),
        Store::connect(&location, "s", SCHEMA).await.unwrap(),
    ];
    for round in 0..25 {
        let acts = (0..4).map(|n| {
            let headers = [("idempotency-key".parse().unwrap(), format!("key-{round}").parse().unwrap())]
                .into_iter()
                .collect();
            let repeated = IdempotencyKey::from_headers(&headers, "a request").unwrap();
            // Different keys of the guard: only the row of the idempotency key is between them.
            stores[n % 2].write(key(&format!("{round} {n}")), move |tx| {
                let id = format!("{round} {n}");
                idempotency::run_once(tx, repeated.as_ref(), Timestamp::from_unix_ms(0), &id, || {
                    insert(id.clone())(tx).map(|()| id.clone())
                })
            })
        });
        let outcomes: Vec<_> =
            futures_util::future::join_all(acts).await.into_iter().map(Result::unwrap).collect();
        let done: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done(_))).collect();
        let [Outcome::Done(id)] = done[..] else { panic!("{outcomes:?}") };
        assert_eq!(outcomes.iter().filter(|o| **o == Outcome::Repeated(id.clone())).count(), 3);
    }
    assert_eq!(keys(&stores[0]).await.len(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_for_each_other_run_again() {
    let Some(location) = database("deadlock").await else { return };
    let store = connect(&location).await;
    let (runs, both) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let write = |first: &'static str, second: &'static str| {
        let (runs, both) = (Arc::clone(&runs), Arc::clone(&both));
        store.write(Guard::None, move |tx| {
            tx.lock(first)?;
            if runs.fetch_add(1, Ordering::SeqCst) < 2 {
                both.wait();
            }
            tx.lock(second)?;
            insert(first)(tx)
        })
    };
    let (a, b) = tokio::join!(write("a", "b"), write("b", "a"));
    a.unwrap();
    b.unwrap();
    assert_eq!(keys(&store).await, ["a", "b"]);
    assert!(runs.load(Ordering::SeqCst) > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_for_another_write_is_told_so() {
    let Some(location) = database("busy").await else { return };
    let stores = [connect(&location).await, connect(&location).await];
    let (begun, begin) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let (begun, goes_on) = (std::sync::Mutex::new(begun), std::sync::Mutex::new(goes_on));
    let holding = rt::spawn({
        let store = stores[0].clone();
        async move {
            let hold = move |tx: &Tx<'_>| {
                begun.lock().unwrap().send(()).unwrap();
                goes_on.lock().unwrap().recv().unwrap();
                insert("held")(tx)
            };
            store.write(key("k"), hold).await
        }
    });
    rt::unblock(move || begin.recv().unwrap()).await.unwrap();
    let (other, waits) = tokio::join!(
        stores[1].write(key("other"), insert("other")),
        stores[1].write(key("k"), insert("waits"))
    );
    other.unwrap();
    assert!(matches!(waits, Err(WriteError::Busy)), "{waits:?}");
    go_on.send(()).unwrap();
    holding.await.unwrap().unwrap();
    assert_eq!(keys(&stores[0]).await, ["held", "other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_is_passed_over_is_no_success() {
    let Some(location) = database("passed over").await else { return };
    let store = connect(&location).await;
    store.write(Guard::None, insert("k")).await.unwrap();
    let passed_over = store.write(Guard::None, |tx| {
        insert("l")(tx)?;
        let _ = insert("k")(tx);
        Ok::<_, SqlError>(())
    });
    assert!(matches!(passed_over.await, Err(WriteError::Unavailable(_))));
    let private = "a\0b";
    let nul = store.write(Guard::None, move |tx| insert(private)(tx)).await;
    assert!(matches!(&nul, Err(WriteError::Rejected(error)) if error.is_permanent()), "{nul:?}");
    assert_eq!(keys(&store).await, ["k"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_leads_and_another_follows_it() {
    let Some(location) = database("leader").await else { return };
    let stores = [connect(&location).await, connect(&location).await];
    let first = stores[0].lead("relay").await;
    let other_duty = stores[1].lead("subscriber").await;
    let follower = {
        let store = stores[1].clone();
        rt::spawn(async move { store.lead("relay").await })
    };
    rt::sleep(Duration::from_millis(1_500)).await;
    assert!(!follower.is_finished());
    drop(first);
    let second = rt::timeout(LIMIT, follower).await.unwrap().unwrap();
    // An operator, or a network that forgets the connection.
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    psql(&url_of(&location), terminate).await;
    for leadership in [second, other_duty] {
        rt::timeout(LIMIT, leadership.lost()).await.expect("it is noticed");
    }
    rt::timeout(LIMIT, stores[0].lead("relay")).await.expect("one leads again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_of_another_replica_is_told() {
    let Some(location) = database("told").await else { return };
    let stores = [connect(&location).await, connect(&location).await];
    let mut fastest = Duration::MAX;
    for n in 0..10 {
        let mut committed = stores[1].committed();
        committed.mark_unchanged();
        let before = Instant::now();
        stores[0].write(Guard::None, insert(n.to_string())).await.unwrap();
        rt::timeout(LIMIT, committed.changed()).await.unwrap().unwrap();
        fastest = fastest.min(before.elapsed());
    }
    assert!(fastest < Duration::from_millis(500), "a look each second alone would take longer: {fastest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_notification_costs_a_second() {
    let Some(location) = database("lost").await else { return };
    let store = connect(&location).await;
    let handover = store.hand_over(|_, _| Ok(None::<()>));
    // Nobody tells of this one.
    psql(&url_of(&location), "INSERT INTO t (key) VALUES ('k')").await;
    let as_of = handover.now();
    assert!(rt::timeout(LIMIT, handover.next(0, as_of)).await.unwrap().is_none(), "the task looks itself");
    assert_eq!(keys(&store).await, ["k"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_before_the_commit_costs_no_write() {
    let Some(location) = database("terminated").await else { return };
    let store = Store::connect(&location, "s", SCHEMA).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let terminating = rt::spawn({
        let (stop, url) = (stop.clone(), url_of(&location));
        async move {
            while !stop.is_cancelled() {
                // Those that are within a transaction, and wait for its next statement.
                let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND state = 'idle in transaction' AND query NOT LIKE '%COMMIT%'";
                psql(&url, terminate).await;
            }
        }
    });
    let mut runs = 0;
    let mut n = 0;
    // Until some have run again.
    while runs < n + 3 {
        let (count, counted) = mpsc::channel();
        let slow = move |tx: &Tx<'_>| {
            count.send(()).unwrap();
            for part in 0..20 {
                insert(format!("{n} {part}"))(tx)?;
            }
            Ok::<_, SqlError>(())
        };
        match store.write(Guard::None, slow).await {
            Ok(()) => {}
            // The connection ended a moment later than was meant: with the commit.
            Err(WriteError::Unknown(_)) if keys(&store).await.contains(&format!("{n} 0")) => {}
            Err(WriteError::Unknown(_)) => continue,
            Err(error) => panic!("{error}"),
        }
        runs += counted.try_iter().count();
        n += 1;
        assert!(n < 2_000, "no connection was lost");
    }
    stop.cancel();
    terminating.await.unwrap();
    until("all of it is there once", async || keys(&store).await.len() == 20 * n).await;
}
