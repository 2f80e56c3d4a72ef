//! Disks that are full, or fail.

use super::*;
use rusqlite::ffi;

const BLOBS: &[Migration] = &[&["CREATE TABLE blob (n INTEGER PRIMARY KEY, bytes BLOB) STRICT"]];

fn blob(n: i64, size: usize) -> impl Fn(&Tx<'_>) -> Result<(), SqlError> + Send + 'static {
    move |tx| tx.execute("INSERT INTO blob VALUES ($1, zeroblob($2))", values![n, size as i64]).map(drop)
}

/// The most pages that the file may have.
async fn limit(store: &Store, pages: i64) {
    let limit = move |tx: &Tx<'_>| {
        tx.connection().pragma_update(None, "max_page_count", pages).map_err(SqlError::from)
    };
    store.write(Guard::None, limit).await.unwrap();
}

async fn kept(store: &Store) -> Vec<i64> {
    let rows = store.read(|tx| tx.query("SELECT n FROM blob ORDER BY n", &[], |row| row.int(0)));
    rows.await.unwrap()
}

async fn ends(store: &Store) {
    let limit = std::time::Duration::from_secs(20);
    rt::timeout(limit, store.failure()).await.expect("it says that it has ended");
}

fn failing(code: i32) -> SqlError {
    SqlError::sqlite(code, "failing")
}

#[tokio::test]
async fn what_does_not_fit_is_not_done_and_fits_again_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", BLOBS).unwrap();
    limit(&store, 20).await;
    let hold = Hold::the_writer_of(&store).await;
    // SQLite gives up the whole transaction: what was in it before is not done, and what comes after goes on.
    let (before, large, after, ()) = tokio::join!(
        store.write(Guard::None, blob(1, 10)),
        store.write(Guard::None, blob(2, 1_000_000)),
        store.write(Guard::None, blob(3, 10)),
        hold.release()
    );
    for refused in [before, large] {
        assert!(matches!(refused, Err(WriteError::Unavailable(_))), "{refused:?}");
    }
    after.unwrap();
    assert_eq!(kept(&store).await, [3]);
    store.write(Guard::None, blob(1, 10)).await.unwrap();
    limit(&store, 100_000).await;
    store.write(Guard::None, blob(2, 1_000_000)).await.unwrap();
    assert_eq!(kept(&store).await, [1, 2, 3]);
    assert_eq!(store.file().unwrap().failed.reason(), None, "a full disk is no failing disk");
}

#[tokio::test]
async fn what_could_not_be_committed_is_handed_on_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", BLOBS).unwrap();
    limit(&store, 20).await;
    let handover = store.hand_over(|tx, after| {
        let newest: Option<i64> = tx.one("SELECT max(n) FROM blob", &[], |row| row.opt_int(0))?;
        Ok(newest.filter(|newest| *newest > after))
    });
    let mut next = std::pin::pin!(handover.next(0, handover.now()));
    assert!(futures_util::poll!(&mut next).is_pending());
    let (stands, mut stood) = tokio::sync::mpsc::unbounded_channel();
    let write = |n, size, stands: tokio::sync::mpsc::UnboundedSender<i64>| {
        let write = move |tx: &Tx<'_>| blob(n, size)(tx).map(|()| (n, Durability::Now));
        store.write_then(Guard::None, write, move |n| stands.send(*n).unwrap())
    };
    let hold = Hold::the_writer_of(&store).await;
    let (before, large, after, ()) = tokio::join!(
        write(1, 10, stands.clone()),
        write(2, 1_000_000, stands.clone()),
        write(3, 10, stands),
        hold.release()
    );
    assert!(before.is_err() && large.is_err());
    after.unwrap();
    assert_eq!((stood.recv().await, stood.recv().await), (Some(3), None));
    assert_eq!(next.await.unwrap().0, 3);
}

#[tokio::test]
async fn a_failing_disk_ends_the_store_and_nothing_is_written_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", BLOBS).unwrap();
    store.write(Guard::None, blob(1, 10)).await.unwrap();
    let hold = Hold::the_writer_of(&store).await;
    let fails = store.write(Guard::None, |_| Err::<(), _>(failing(ffi::SQLITE_IOERR_READ)));
    // These three wait together: they are one batch, and the second of them meets the failing disk.
    let (before, failed, after, ()) = tokio::join!(
        store.write(Guard::None, blob(2, 10)),
        fails,
        store.write(Guard::None, blob(3, 10)),
        hold.release()
    );
    for answer in [before, failed, after] {
        assert!(matches!(answer, Err(WriteError::Unavailable(_))), "{answer:?}");
    }
    ends(&store).await;
    let log = dir.path().join("s.db-wal");
    let written = std::fs::read(&log).unwrap();
    assert!(matches!(store.write(Guard::None, blob(4, 10)).await, Err(WriteError::Unavailable(_))));
    close(store).await;
    assert_eq!(std::fs::read(&log).unwrap(), written, "nothing is written, and nothing is tidied up");
    let store = Store::open(dir.path(), "s", BLOBS).unwrap();
    assert_eq!(kept(&store).await, [1]);
}

/// An error of a service, as `?` makes it from the store's.
#[derive(Debug, thiserror::Error)]
enum OfAService {
    #[error(transparent)]
    Sql(#[from] SqlError),
}

#[tokio::test]
async fn a_failing_disk_is_seen_through_the_errors_of_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", BLOBS).unwrap();
    let fails = store.write(Guard::None, |_| Err::<(), OfAService>(failing(ffi::SQLITE_IOERR_READ).into()));
    assert!(matches!(fails.await, Err(WriteError::Unavailable(_))));
    ends(&store).await;
}

#[tokio::test]
async fn damage_that_a_reader_finds_ends_the_store_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", BLOBS).unwrap();
    let full = store.read(|_| Err::<(), _>(failing(ffi::SQLITE_BUSY))).await;
    assert!(full.is_err());
    assert_eq!(store.file().unwrap().failed.reason(), None);
    let found = store.read(|_| Err::<(), _>(failing(ffi::SQLITE_CORRUPT))).await;
    assert!(
        matches!(found, Err(ReadError::Sql(e)) if e.code() == Some(rusqlite::ErrorCode::DatabaseCorrupt))
    );
    ends(&store).await;
    assert!(matches!(store.write(Guard::None, blob(1, 10)).await, Err(WriteError::Unavailable(_))));
}

#[tokio::test]
async fn a_read_that_fails_or_panics_costs_no_place_and_says_its_own_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", BLOBS).unwrap();
    for _ in 0..2 * READERS {
        // It ends its transaction, as SQLite does after some errors.
        let ended = store.read(|tx| {
            run_all(tx, "ROLLBACK")?;
            Err::<(), _>(refusal())
        });
        assert!(matches!(ended.await, Err(ReadError::Sql(error)) if is_refusal(&error)));
        let panicked = store.read(|_| -> Result<(), SqlError> { panic!("a fault in a read") }).await;
        assert!(matches!(panicked, Err(ReadError::Panicked)));
        assert_eq!(kept(&store).await, [0_i64; 0]);
    }
    assert!(store.file().unwrap().readers.lock().unwrap().len() <= READERS);
}
