use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const SCHEMA: &[Migration] = &[&["CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT"]];

fn insert(n: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static {
    move |c| c.execute("INSERT INTO t VALUES (?1)", [n]).map(drop)
}

async fn all(store: &Store) -> Vec<i64> {
    let rows =
        store.read(|c| c.prepare("SELECT n FROM t ORDER BY n")?.query_map([], |r| r.get(0))?.collect());
    rows.await.unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    store.write(insert(1)).await.unwrap();
    assert_eq!(all(&store).await, [1]);
    store.close().await;
    assert!(matches!(store.write(insert(2)).await, Err(WriteError::Unavailable(_))));
    drop(store);
    assert_eq!(all(&Store::open(dir.path(), "s", SCHEMA).unwrap()).await, [1]);
}

#[tokio::test]
async fn many_writers_share_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    // The first write holds the writer until all the others are queued.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let first = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .write(move |_| -> rusqlite::Result<()> {
                    held.recv().map_err(|_| rusqlite::Error::InvalidQuery)
                })
                .await
        }
    });
    let queued: Vec<_> = (0..100)
        .map(|n| {
            tokio::spawn({
                let s = store.clone();
                async move { s.write(insert(n)).await }
            })
        })
        .collect();
    while store.inner.jobs.capacity() > QUEUE - 100 {
        tokio::task::yield_now().await;
    }
    let before = *store.committed().borrow();
    hold.send(()).unwrap();
    first.await.unwrap().unwrap();
    for write in queued {
        write.await.unwrap().unwrap();
    }
    assert_eq!(all(&store).await.len(), 100);
    assert!(*store.committed().borrow() - before <= 2, "one commit for the first, one for all the others");
}

#[tokio::test]
async fn a_failing_write_takes_back_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let refused = store.write(|c| {
        c.execute("INSERT INTO t VALUES (7)", [])?;
        Err::<(), rusqlite::Error>(rusqlite::Error::InvalidQuery)
    });
    let panics = store.write(|c| -> rusqlite::Result<()> {
        c.execute("INSERT INTO t VALUES (8)", [])?;
        panic!("a fault in a closure");
    });
    let (refused, panicked, kept) = tokio::join!(refused, panics, store.write(insert(1)));
    assert!(matches!(refused, Err(WriteError::Rejected(rusqlite::Error::InvalidQuery))));
    assert!(matches!(panicked, Err(WriteError::Unavailable(_))));
    kept.unwrap();
    assert_eq!(all(&store).await, [1]);
}

#[tokio::test]
async fn a_write_that_ends_the_transaction_fails_its_batch_and_not_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let ends = store.write(|c| c.execute_batch("INSERT INTO t VALUES (9); ROLLBACK"));
    assert!(matches!(ends.await, Err(WriteError::Unavailable(_))));
    store.write(insert(1)).await.unwrap();
    assert_eq!(all(&store).await, [1]);
}

#[tokio::test]
async fn a_full_queue_says_busy_and_loses_nothing_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let taken = Arc::new(AtomicUsize::new(0));
    let mut writes = vec![];
    for n in 0..(QUEUE as i64 + 200) {
        let (store, taken) = (store.clone(), Arc::clone(&taken));
        let held = if n == 0 { None } else { Some(()) };
        let _ = held;
        writes.push(async move {
            let result = store.write(insert(n)).await;
            if result.is_ok() {
                taken.fetch_add(1, Ordering::Relaxed);
            }
            result
        });
    }
    let blocker = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .write(move |_| {
                    let _ = held.recv();
                    Ok::<_, rusqlite::Error>(())
                })
                .await
        }
    });
    while store.inner.jobs.capacity() < QUEUE {
        tokio::task::yield_now().await;
    }
    // Let the writer take the blocker off the queue, so that it can drain nothing more.
    let (all_done, _) = tokio::join!(futures_util::future::join_all(writes), async {
        while store.inner.jobs.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        hold.send(()).unwrap();
    });
    blocker.await.unwrap().unwrap();
    let busy = all_done.iter().filter(|r| matches!(r, Err(WriteError::Busy))).count();
    assert!(busy > 0, "more were sent than the queue holds");
    assert_eq!(all(&store).await.len(), taken.load(Ordering::Relaxed));
    assert_eq!(busy + taken.load(Ordering::Relaxed), all_done.len());
}

#[test]
fn a_newer_schema_and_a_second_process_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let two: &[Migration] = &[SCHEMA[0], &["CREATE TABLE u (n INTEGER) STRICT"]];
    let first = Store::open(dir.path(), "s", two).unwrap();
    let refused = Store::open(dir.path(), "s", two).unwrap_err();
    assert!(matches!(&refused, OpenError::InUse { path } if path.ends_with("s.db")), "{refused}");
    drop(first);
    let older = loop {
        match Store::open(dir.path(), "s", SCHEMA) {
            Err(OpenError::InUse { .. }) => std::thread::yield_now(),
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(older, OpenError::NewerSchema { found: 2, known: 1, .. }), "{older}");
}

#[test]
fn a_file_that_is_no_database_is_refused_by_name_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let error = Store::open(dir.path(), "s", SCHEMA).unwrap_err().to_string();
    assert!(error.contains("s.db"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 8192]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("data"), "s", SCHEMA).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
}
