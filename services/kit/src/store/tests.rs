use super::sqlite::{QUEUE, READERS};
use super::*;
use crate::rt;
use std::fs::File;
use tokio::sync::mpsc;

mod damage;
mod disk;
mod durable;
mod floor;
mod lazy;
mod wal;

const SCHEMA: &[Migration] = &[&["CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT"]];

fn insert(n: i64) -> impl Fn(&Tx<'_>) -> Result<(), SqlError> + Send + 'static {
    move |tx| tx.execute("INSERT INTO t VALUES ($1)", values![n]).map(drop)
}

/// An error that says nothing of the disk.
fn refusal() -> SqlError {
    SqlError::data("refused")
}

fn is_refusal(error: &SqlError) -> bool {
    error.to_string() == "refused"
}

/// Several statements at once, as only SQLite runs them.
fn run_all(tx: &Tx<'_>, sql: &str) -> Result<(), SqlError> {
    Ok(tx.connection().execute_batch(sql)?)
}

/// A write that keeps the writer busy until it is told to end.
struct Hold {
    end: std::sync::mpsc::Sender<()>,
    write: rt::Task<Result<(), WriteError<SqlError>>>,
}

impl Hold {
    async fn the_writer_of(store: &Store) -> Self {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, mut begun) = mpsc::unbounded_channel();
        let store = store.clone();
        let write = rt::spawn(async move {
            let wait = move |_: &Tx<'_>| {
                let _ = begin.send(());
                ended.recv().map_err(|_| refusal())
            };
            store.write(Guard::None, wait).await
        });
        begun.recv().await.unwrap();
        Self { end, write }
    }

    async fn release(self) {
        self.end.send(()).unwrap();
        self.write.await.unwrap().unwrap();
    }
}

/// Drops a store, and waits until its file is closed. No other handle may be left.
pub(crate) async fn close(store: Store) {
    let lock = store.path().with_extension("lock");
    drop(store);
    let closed = async {
        while File::open(&lock).unwrap().try_lock().is_err() {
            rt::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    rt::timeout(std::time::Duration::from_secs(10), closed).await.expect("it is closed");
}

async fn all(store: &Store) -> Vec<i64> {
    let rows = store.read(|tx| tx.query("SELECT n FROM t ORDER BY n", &[], |row| row.int(0)));
    rows.await.unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    store.write(Guard::None, insert(1)).await.unwrap();
    assert_eq!(all(&store).await, [1]);
    close(store).await;
    assert_eq!(all(&Store::open(dir.path(), "s", SCHEMA).unwrap()).await, [1]);
}

#[tokio::test]
async fn many_writers_share_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let hold = Hold::the_writer_of(&store).await;
    let queued: Vec<_> = (0..100)
        .map(|n| {
            rt::spawn({
                let s = store.clone();
                async move { s.write(Guard::None, insert(n)).await }
            })
        })
        .collect();
    while store.file().unwrap().tasks.capacity() > QUEUE - 100 {
        tokio::task::yield_now().await;
    }
    let before = *store.committed().borrow();
    hold.release().await;
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
    let refused = store.write(Guard::None, |tx| {
        tx.execute("INSERT INTO t VALUES (7)", &[])?;
        Err::<(), _>(refusal())
    });
    let panics = store.write(Guard::None, |tx| -> Result<(), SqlError> {
        tx.execute("INSERT INTO t VALUES (8)", &[])?;
        panic!("a fault in a closure");
    });
    let (refused, panicked, kept) = tokio::join!(refused, panics, store.write(Guard::None, insert(1)));
    assert!(matches!(refused, Err(WriteError::Rejected(error)) if is_refusal(&error)));
    assert!(matches!(panicked, Err(WriteError::Panicked)));
    kept.unwrap();
    assert_eq!(all(&store).await, [1]);
}

#[tokio::test]
async fn a_write_can_run_again_and_what_follows_from_it_happens_once() {
    let memory = Memory::new(SCHEMA);
    let (reply, answer) = oneshot::channel();
    let count = |tx: &Tx<'_>| {
        insert(1)(tx)?;
        Ok::<_, SqlError>((tx.one("SELECT count(*) FROM t", &[], |row| row.int::<i64>(0))?, Durability::Now))
    };
    let (stood, mut stands) = mpsc::unbounded_channel();
    let after = move |n: &i64| stood.send(*n).unwrap();
    let mut job = task::job(count, after, reply);
    let taken_back = memory.tx().savepoint(|tx| {
        assert_eq!(job.run(tx), Some(Durability::Now));
        Err::<(), _>(refusal())
    });
    taken_back.unwrap_err();
    assert_eq!(job.run(&memory.tx()), Some(Durability::Now));
    job.answer(Ok(()));
    assert_eq!(answer.await.unwrap().unwrap(), 1, "only the second run counts");
    assert_eq!((stands.recv().await, stands.recv().await), (Some(1), None));
}

#[tokio::test]
async fn a_write_that_ends_the_transaction_fails_its_batch_and_not_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let ends = store.write(Guard::None, |tx| run_all(tx, "INSERT INTO t VALUES (9); ROLLBACK"));
    assert!(matches!(ends.await, Err(WriteError::Unavailable(_))));
    store.write(Guard::None, insert(1)).await.unwrap();
    assert_eq!(all(&store).await, [1]);
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let read = store.read(|_| -> Result<(), SqlError> { panic!("a fault in a reader") }).await.unwrap_err();
    assert!(matches!(read, ReadError::Panicked));
    let write = store
        .write(Guard::None, |_| -> Result<(), SqlError> { panic!("a fault in a write") })
        .await
        .unwrap_err();
    assert!(matches!(write, WriteError::Panicked));
    store.write(Guard::None, insert(1)).await.unwrap();
    assert_eq!(all(&store).await, [1]);
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a fault outside any closure");
    }
}

#[tokio::test]
async fn a_panic_of_the_writer_itself_ends_the_store_and_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let hold = Hold::the_writer_of(&store).await;
    {
        // Its caller leaves: the writer has to drop the answer.
        let write = store.write(Guard::None, |_| Ok::<_, SqlError>(PanicsWhenDropped));
        tokio::pin!(write);
        assert!(futures_util::poll!(&mut write).is_pending());
    }
    let behind = store.write(Guard::None, insert(1));
    let (behind, ()) = tokio::join!(behind, hold.release());
    assert!(matches!(behind, Err(WriteError::Panicked)), "{behind:?}");
    let ended = rt::timeout(std::time::Duration::from_secs(10), store.failure()).await;
    assert_eq!(ended.unwrap(), "the writer panicked");
    assert!(matches!(store.write(Guard::None, insert(2)).await, Err(WriteError::Unavailable(_))));
    close(store).await;
}

#[tokio::test]
async fn a_read_keeps_its_place_until_it_ends_although_whoever_asked_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = oneshot::channel();
    let asked = rt::spawn({
        let store = store.clone();
        async move {
            let wait = move |_: &Tx<'_>| {
                let _ = begin.send(());
                ended.recv().map_err(|_| refusal())
            };
            store.read(wait).await
        }
    });
    begun.await.unwrap();
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    assert_eq!(store.file().unwrap().permits.available_permits(), READERS - 1);
    end.send(()).unwrap();
    let all_places = store.file().unwrap().permits.acquire_many(READERS as u32);
    drop(rt::timeout(std::time::Duration::from_secs(10), all_places).await.expect("it is free again"));
}

#[tokio::test]
async fn a_full_queue_says_busy_and_loses_nothing_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let hold = Hold::the_writer_of(&store).await;
    let extra = 200;
    let writes = (0..QUEUE as i64 + extra).map(|n| store.write(Guard::None, insert(n)));
    // Every write is queued or refused before the writer goes on.
    let (answers, ()) = tokio::join!(futures_util::future::join_all(writes), async { hold.release().await });
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    let busy = answers.iter().filter(|answer| matches!(answer, Err(WriteError::Busy))).count();
    assert_eq!((taken, busy), (QUEUE, extra as usize));
    assert_eq!(all(&store).await.len(), taken);
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
