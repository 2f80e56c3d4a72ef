//! What a service may rely on, whatever the engine.

use super::{Guard, LIMIT, SCHEMA, connect, database, insert, key, keys};
use kit::rt;
use kit::store::{Durability, ReadError, SqlError, Store, Tx, Value, WriteError, values};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let store = super::Store::open(dir.path(), "s", super::SCHEMA.history).unwrap();
                super::$name(store).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(location) = super::database(stringify!($name)).await {
                    super::$name(super::connect(&location).await).await;
                }
            })+
        }
    };
}

on_both_engines! {
    what_is_bound_is_read_again,
    what_a_column_does_not_hold_is_an_error_of_the_data,
    a_number_comes_from_returning,
    text_is_ordered_by_its_bytes,
    an_insert_that_changes_nothing_says_so,
    an_upsert_names_its_columns,
    what_may_be_null_is_compared,
    conditions_and_counts_are_integers,
    a_value_too_many_or_too_few_is_an_error,
    rows_behind_a_break_are_not_read_and_statements_may_be_nested,
    an_error_of_the_data_is_permanent,
    a_write_that_fails_takes_back_all_of_it,
    a_savepoint_takes_back_what_is_in_it_and_nothing_else,
    a_read_is_one_snapshot_and_writes_nothing,
    writes_of_one_key_follow_each_other,
    a_panic_is_said_and_harms_no_other_write,
    what_stands_is_handed_on_once,
    lazy_writes_are_done_in_their_order_and_before_a_flush,
    a_commit_wakes_those_who_wait,
    the_duty_of_the_only_replica_is_its_own,
}

type Failed = WriteError<SqlError>;

async fn write<T: Send + 'static>(
    store: &Store,
    f: impl Fn(&Tx<'_>) -> Result<T, SqlError> + Send + 'static,
) -> Result<T, Failed> {
    store.write(Guard::None, f).await
}

async fn what_is_bound_is_read_again(store: Store) {
    let texts = [Some("ä\n\u{1F980}'\\ %_".to_owned()), Some(String::new()), None];
    let numbers = [Some(i64::MAX), Some(i64::MIN), None];
    let stored = (texts.clone(), numbers);
    write(&store, move |tx| {
        for (at, (text, number)) in stored.0.iter().zip(stored.1).enumerate() {
            let sql = "INSERT INTO t (key, note, amount, yes) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, values![&at.to_string(), text, number, at == 1])?;
        }
        Ok(())
    })
    .await
    .unwrap();
    let read = |tx: &Tx<'_>| {
        tx.query("SELECT note, amount, yes FROM t ORDER BY n", &[], |row| {
            Ok((row.opt_text(0)?.map(str::to_owned), row.opt_int::<i64>(1)?, row.bool(2)?))
        })
    };
    let expected: Vec<_> =
        texts.into_iter().zip(numbers).zip([false, true, false]).map(|((t, n), b)| (t, n, b)).collect();
    assert_eq!(store.read(read).await.unwrap(), expected);
}

async fn what_a_column_does_not_hold_is_an_error_of_the_data(store: Store) {
    write(&store, insert("x")).await.unwrap();
    type Read = fn(&kit::store::Row<'_>) -> Result<(), SqlError>;
    let reads: [Read; 5] = [
        |row| row.int::<i64>(0).map(drop),
        |row| row.int::<i64>(1).map(drop),
        |row| row.text(2).map(drop),
        |row| row.text(1).map(drop),
        |row| row.parsed::<std::net::IpAddr>(0).map(drop),
    ];
    for read in reads {
        let found = store.read(move |tx| tx.one("SELECT key, note, yes FROM t", &[], read)).await;
        let Err(ReadError::Sql(error)) = found else { panic!("{found:?}") };
        assert!(error.is_permanent() && error.to_string().starts_with("column "), "{error}");
    }
}

async fn a_number_comes_from_returning(store: Store) {
    for n in 1..=3_i64 {
        let given = write(&store, move |tx| {
            let sql = "INSERT INTO t (key) VALUES ($1) RETURNING n";
            tx.one(sql, values![&n.to_string()], |row| row.int::<i64>(0))
        });
        assert_eq!(given.await.unwrap(), n);
    }
}

async fn text_is_ordered_by_its_bytes(store: Store) {
    let mut all =
        ["a", "B", "ä", "_", "Z", "10", "9", "a b", "ab", "A-", "é", "e", "", "\u{FFFD}", "\u{1F980}"];
    write(&store, move |tx| all.iter().try_for_each(|key| insert(*key)(tx))).await.unwrap();
    all.sort_unstable();
    assert_eq!(keys(&store).await, all);
    let after = |tx: &Tx<'_>| {
        let sql = "SELECT key FROM t WHERE key > $1 ORDER BY key LIMIT $2";
        tx.query(sql, values!["Z", 3_i64], |row| Ok(row.text(0)?.to_owned()))
    };
    assert_eq!(store.read(after).await.unwrap(), ["_", "a", "a b"], "and compared");
    assert_eq!(
        store
            .read(|tx| tx.one("SELECT max(key) FROM t", &[], |row| Ok(row.text(0)?.to_owned())))
            .await
            .unwrap(),
        "\u{1F980}"
    );
}

async fn an_insert_that_changes_nothing_says_so(store: Store) {
    let claim = |tx: &Tx<'_>| tx.execute("INSERT INTO names (name) VALUES ('x') ON CONFLICT DO NOTHING", &[]);
    assert_eq!(write(&store, claim).await.unwrap(), 1);
    assert_eq!(write(&store, claim).await.unwrap(), 0);
}

async fn an_upsert_names_its_columns(store: Store) {
    for amount in [1_i64, 5, 3] {
        write(&store, move |tx| {
            let sql = "
                INSERT INTO t (key, amount) VALUES ('k', $1)
                ON CONFLICT (key) DO UPDATE SET amount = excluded.amount WHERE t.amount < excluded.amount";
            tx.execute(sql, values![amount])
        })
        .await
        .unwrap();
    }
    let amount = store.read(|tx| tx.one("SELECT amount FROM t", &[], |row| row.int::<i64>(0)));
    assert_eq!(amount.await.unwrap(), 5);
}

async fn what_may_be_null_is_compared(store: Store) {
    write(&store, insert("k")).await.unwrap();
    let matching = |value: Option<&'static str>| {
        store.read(move |tx| {
            let sql = "SELECT count(*) FROM t WHERE note IS NOT DISTINCT FROM $1";
            tx.one(sql, values![value], |row| row.int::<i64>(0))
        })
    };
    assert_eq!((matching(None).await.unwrap(), matching(Some("")).await.unwrap()), (1, 0));
}

async fn conditions_and_counts_are_integers(store: Store) {
    let read = |tx: &Tx<'_>| {
        let sql = "SELECT count(*), coalesce(max(n), 0), EXISTS (SELECT 1 FROM t), amount IS NOT NULL FROM
            (SELECT 0 AS m) AS one LEFT JOIN t ON t.n = one.m GROUP BY amount";
        tx.one(sql, &[], |row| Ok((row.int::<u32>(0)?, row.int::<i64>(1)?, row.bool(2)?, row.int::<i64>(3)?)))
    };
    assert_eq!(store.read(read).await.unwrap(), (1, 0, false, 0));
}

async fn a_value_too_many_or_too_few_is_an_error(store: Store) {
    for count in [0, 2] {
        let all = ["x", "y"];
        let refused = write(&store, move |tx| {
            let values: Vec<Value<'_>> = all[..count].iter().copied().map(Value::Text).collect();
            tx.execute("INSERT INTO t (key) VALUES ($1)", &values)
        });
        refused.await.unwrap_err();
    }
    assert_eq!(keys(&store).await, [""; 0]);
}

async fn rows_behind_a_break_are_not_read_and_statements_may_be_nested(store: Store) {
    write(&store, |tx| (0..1_000).try_for_each(|n| insert(format!("{n:04}"))(tx))).await.unwrap();
    let read = |count: usize| {
        store.read(move |tx| {
            let mut taken = Vec::new();
            let all = tx.each("SELECT key FROM t ORDER BY key", &[], |row| {
                let key = row.text(0)?.to_owned();
                let again = tx.one("SELECT key FROM t WHERE key = $1", values![&key], |row| row.parsed(0))?;
                taken.push(again);
                Ok(if taken.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            Ok((taken, all))
        })
    };
    let (taken, all): (Vec<u32>, bool) = read(300).await.unwrap();
    assert!(!all && taken == (0..300).collect::<Vec<_>>());
    let (taken, all) = read(2_000).await.unwrap();
    assert!(all && taken == (0..1_000).collect::<Vec<_>>());
    let none = store.read(|tx| tx.first("SELECT n FROM t WHERE key > 'x'", &[], |row| row.int::<i64>(0)));
    assert_eq!(none.await.unwrap(), None);
    store
        .read(|tx| tx.one("SELECT n FROM t WHERE key > 'x'", &[], |row| row.int::<i64>(0)))
        .await
        .unwrap_err();
}

async fn an_error_of_the_data_is_permanent(store: Store) {
    write(&store, insert("k")).await.unwrap();
    type Act = fn(&Tx<'_>) -> Result<u64, SqlError>;
    let acts: [Act; 3] = [
        |tx| tx.execute("INSERT INTO t (key) VALUES ($1)", values!["k"]),
        |tx| tx.execute("INSERT INTO t (key) VALUES ($1)", values![None::<&str>]),
        |tx| tx.execute("INSERT INTO t (key, amount) VALUES ('x', $1)", values!["no number"]),
    ];
    for (at, act) in acts.into_iter().enumerate() {
        let failed = write(&store, act).await;
        let Err(WriteError::Rejected(error)) = failed else { panic!("{at}: {failed:?}") };
        assert!(error.is_permanent(), "{at}: {error}");
        assert!(!error.to_string().contains("no number"), "{error}");
    }
    let missing = write(&store, |tx| tx.execute("INSERT INTO nowhere VALUES (1)", &[])).await;
    assert!(matches!(&missing, Err(WriteError::Rejected(error)) if !error.is_permanent()), "{missing:?}");
}

async fn a_write_that_fails_takes_back_all_of_it(store: Store) {
    let failed = write(&store, |tx| {
        insert("a")(tx)?;
        insert("b")(tx)?;
        Err::<(), _>(SqlError::data("refused"))
    });
    assert_eq!(failed.await.unwrap_err().to_string(), "refused");
    assert_eq!(keys(&store).await, [""; 0]);
}

async fn a_savepoint_takes_back_what_is_in_it_and_nothing_else(store: Store) {
    write(&store, |tx| {
        insert("1")(tx)?;
        let failed = tx.savepoint(|tx| {
            insert("2")(tx)?;
            tx.savepoint(|tx| insert("3")(tx))?;
            insert("1")(tx)
        });
        assert!(failed.unwrap_err().is_permanent());
        tx.savepoint(|tx| {
            insert("4")(tx)?;
            tx.savepoint(|tx| insert("5")(tx).and_then(|()| insert("5")(tx))).unwrap_err();
            insert("6")(tx)
        })
    })
    .await
    .unwrap();
    assert_eq!(keys(&store).await, ["1", "4", "6"]);
}

async fn a_read_is_one_snapshot_and_writes_nothing(store: Store) {
    let (begun, begin) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let reading = rt::spawn({
        let store = store.clone();
        async move {
            let count = |tx: &Tx<'_>| tx.one("SELECT count(*) FROM t", &[], |row| row.int::<i64>(0));
            store
                .read(move |tx| {
                    let before = count(tx)?;
                    begun.send(()).unwrap();
                    goes_on.recv().unwrap();
                    Ok((before, count(tx)?))
                })
                .await
        }
    });
    rt::unblock(move || begin.recv().unwrap()).await.unwrap();
    write(&store, insert("k")).await.unwrap();
    go_on.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), (0, 0));
    store.read(insert("l")).await.unwrap_err();
    assert_eq!(keys(&store).await, ["k"]);
}

async fn writes_of_one_key_follow_each_other(store: Store) {
    write(&store, |tx| tx.execute("INSERT INTO t (key, amount) VALUES ('k', 0)", &[])).await.unwrap();
    let adds = (0..100).map(|_| {
        store.write(key("k"), |tx| {
            let amount: i64 = tx.one("SELECT amount FROM t WHERE key = 'k'", &[], |row| row.int(0))?;
            tx.execute("UPDATE t SET amount = $1 WHERE key = 'k'", values![amount + 1])
        })
    });
    for added in futures_util::future::join_all(adds).await {
        assert_eq!(added.unwrap(), 1);
    }
    let amount = store.read(|tx| tx.one("SELECT amount FROM t", &[], |row| row.int::<i64>(0)));
    assert_eq!(amount.await.unwrap(), 100);
}

async fn a_panic_is_said_and_harms_no_other_write(store: Store) {
    let panics = store.write(Guard::None, |tx: &Tx<'_>| -> Result<(), SqlError> {
        insert("a")(tx)?;
        panic!("on purpose");
    });
    let (panics, other) = tokio::join!(panics, write(&store, insert("b")));
    assert!(matches!(panics, Err(WriteError::Panicked)));
    other.unwrap();
    let panics = store.read(|_| -> Result<(), SqlError> { panic!("on purpose") }).await;
    assert!(matches!(panics, Err(ReadError::Panicked)));
    assert_eq!(keys(&store).await, ["b"]);
}

async fn what_stands_is_handed_on_once(store: Store) {
    let count = Arc::new(AtomicUsize::new(0));
    let after = || {
        let count = Arc::clone(&count);
        move |n: &usize| {
            count.fetch_add(*n, Ordering::SeqCst);
        }
    };
    let stands = |tx: &Tx<'_>| insert("a")(tx).map(|()| (1, Durability::Now));
    store.write_then(key("k"), stands, after()).await.unwrap();
    let fails = |_: &Tx<'_>| Err::<(usize, Durability), _>(SqlError::data("refused"));
    store.write_then(key("k"), fails, after()).await.unwrap_err();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

async fn lazy_writes_are_done_in_their_order_and_before_a_flush(store: Store) {
    write(&store, insert("k")).await.unwrap();
    for n in 0..20_i64 {
        let set = move |tx: &Tx<'_>| {
            let sql = "UPDATE t SET amount = $1 WHERE key = 'k' AND coalesce(amount, -1) = $2";
            assert_eq!(tx.execute(sql, values![n, n - 1])?, 1);
            Ok(())
        };
        store.write_lazily(set).await.unwrap();
    }
    store.write_lazily(|_| Err(SqlError::data("of its own"))).await.unwrap();
    store.flush().await.unwrap();
    let amount = store.read(|tx| tx.one("SELECT amount FROM t", &[], |row| row.int::<i64>(0)));
    assert_eq!(amount.await.unwrap(), 19);
    let lazy = |tx: &Tx<'_>| insert("l")(tx).map(|()| ((), Durability::Lazy));
    store.write_by(Guard::None, lazy).await.unwrap();
    super::until("it is committed", async || keys(&store).await == ["k", "l"]).await;
}

async fn a_commit_wakes_those_who_wait(store: Store) {
    let handover = store.hand_over(|tx, after| {
        let found = tx.query("SELECT n FROM t WHERE n > $1", values![after], |row| row.int::<i64>(0))?;
        Ok((!found.is_empty()).then_some(found))
    });
    let mut committed = store.committed();
    let as_of = handover.now();
    committed.mark_unchanged();
    let (woken, ()) = tokio::join!(rt::timeout(LIMIT, handover.next(0, as_of)), async {
        write(&store, insert("k")).await.unwrap();
    });
    let woken = woken.unwrap();
    assert!(woken.is_none_or(|(rows, _)| rows == [1]), "what is handed over is what was stored");
    rt::timeout(LIMIT, committed.changed()).await.unwrap().unwrap();
}

async fn the_duty_of_the_only_replica_is_its_own(store: Store) {
    let leads = rt::timeout(LIMIT, store.lead("relay")).await.unwrap();
    assert!(futures_util::poll!(std::pin::pin!(leads.lost())).is_pending());
    drop(leads);
    rt::timeout(LIMIT, store.lead("relay")).await.expect("and again");
}
