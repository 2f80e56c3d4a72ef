//! Writes that nobody waits for.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn insert_lazily(n: i64) -> impl Fn(&Tx<'_>) -> Result<(), SqlError> + Send + 'static {
    move |tx| tx.execute("INSERT INTO t VALUES ($1)", values![n]).map(drop)
}

fn opened() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    (dir, store)
}

fn failing(code: i32) -> SqlError {
    SqlError::sqlite(code, "failing")
}

async fn becomes(store: &Store, expected: &[i64]) {
    let mut committed = store.committed();
    let reached = async {
        loop {
            committed.mark_unchanged();
            if all(store).await == expected {
                return;
            }
            committed.changed().await.unwrap();
        }
    };
    rt::timeout(Duration::from_secs(20), reached).await.expect("it is committed by itself");
}

#[tokio::test]
async fn lazy_writes_share_a_commit_and_need_no_other_write() {
    let (_dir, store) = opened();
    for n in 0..200 {
        let lazy = move |tx: &Tx<'_>| insert(n)(tx).map(|()| ((), Durability::Lazy));
        store.write_by(Guard::None, lazy).await.unwrap();
    }
    // One each second, however slow this machine is.
    assert!(*store.committed().borrow() < 50, "{}", *store.committed().borrow());
    store.write_lazily(insert_lazily(200)).await.unwrap();
    becomes(&store, &(0..=200).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_lazy_write_keeps_its_place_among_the_others() {
    let (_dir, store) = opened();
    let hold = Hold::the_writer_of(&store).await;
    let clear = |tx: &Tx<'_>| tx.execute("DELETE FROM t", &[]);
    store.write_lazily(insert_lazily(1)).await.unwrap();
    let cleared = store.write(Guard::None, clear);
    let (cleared, second, ()) = tokio::join!(cleared, store.write_lazily(insert_lazily(2)), async {
        hold.release().await;
    });
    second.unwrap();
    assert_eq!(cleared.unwrap(), 1, "the first was there, the second was not");
    store.flush().await.unwrap();
    assert_eq!(all(&store).await, [2]);
}

#[tokio::test]
async fn a_flush_waits_for_the_disk_and_costs_nothing_where_nothing_waits() {
    let (_dir, store) = opened();
    store.flush().await.unwrap();
    assert_eq!(*store.committed().borrow(), 0);
    store.write_lazily(insert_lazily(1)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(all(&store).await, [1]);
}

#[tokio::test]
async fn what_is_lazy_is_written_at_the_close() {
    let (dir, store) = opened();
    store.write_lazily(insert_lazily(1)).await.unwrap();
    close(store).await;
    assert_eq!(all(&Store::open(dir.path(), "s", SCHEMA).unwrap()).await, [1]);
}

#[tokio::test]
async fn a_transaction_that_fails_takes_no_lazy_write_along() {
    let (_dir, store) = opened();
    store.write_lazily(insert_lazily(1)).await.unwrap();
    store.write_lazily(insert_lazily(2)).await.unwrap();
    let ends = store.write(Guard::None, |tx| run_all(tx, "INSERT INTO t VALUES (9); ROLLBACK"));
    assert!(matches!(ends.await, Err(WriteError::Unavailable(_))));
    store.write(Guard::None, insert(3)).await.unwrap();
    assert_eq!(all(&store).await, [1, 2, 3]);
}

#[tokio::test]
async fn on_a_full_disk_a_lazy_write_is_tried_again_and_one_that_fails_by_itself_is_given_up() {
    let (_dir, store) = opened();
    let (is_full, tried) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (full, count) = (Arc::clone(&is_full), Arc::clone(&tried));
    let on_a_disk = move |tx: &Tx<'_>| {
        count.fetch_add(1, Ordering::SeqCst);
        if full.load(Ordering::SeqCst) { Err(failing(rusqlite::ffi::SQLITE_FULL)) } else { insert(1)(tx) }
    };
    store.write_lazily(|_| Err(refusal())).await.unwrap();
    store.write_lazily(|_| panic!("a fault in a lazy write")).await.unwrap();
    store.write_lazily(on_a_disk).await.unwrap();
    assert!(
        matches!(store.write(Guard::None, insert(2)).await, Err(WriteError::Unavailable(_))),
        "it comes after it"
    );
    assert!(matches!(store.flush().await, Err(WriteError::Unavailable(_))));
    assert!(tried.load(Ordering::SeqCst) >= 2);
    is_full.store(false, Ordering::SeqCst);
    becomes(&store, &[1]).await;
    store.write(Guard::None, insert(2)).await.unwrap();
    assert_eq!(all(&store).await, [1, 2]);
    assert_eq!(store.file().unwrap().failed.reason(), None);
}

#[tokio::test]
async fn a_lazy_write_that_meets_a_failing_disk_ends_the_store() {
    let (_dir, store) = opened();
    store.write_lazily(|_| Err(failing(rusqlite::ffi::SQLITE_IOERR_WRITE))).await.unwrap();
    rt::timeout(Duration::from_secs(20), store.failure()).await.expect("it is seen");
    assert!(matches!(store.write(Guard::None, insert(1)).await, Err(WriteError::Unavailable(_))));
}
