//! What an answer of the store is worth.

use super::*;

/// A child without its parent is found out by the commit alone.
const LATE: &[Migration] = &[&[
    "CREATE TABLE parents (n INTEGER PRIMARY KEY) STRICT",
    "CREATE TABLE children (n INTEGER REFERENCES parents (n) DEFERRABLE INITIALLY DEFERRED) STRICT",
]];

#[tokio::test]
async fn no_write_is_answered_before_its_commit_has_succeeded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", LATE).unwrap();
    let before = *store.committed().borrow();
    let (done, mut ran) = mpsc::unbounded_channel();
    let orphan = store.write(Guard::None, move |tx| {
        let inserted = tx.execute("INSERT INTO children VALUES (1)", &[]).map(drop);
        let _ = done.send(inserted.is_ok());
        inserted
    });
    assert!(matches!(orphan.await, Err(WriteError::Unavailable(_))));
    assert!(ran.recv().await.unwrap(), "the closure itself had no fault to find");
    assert_eq!(*store.committed().borrow(), before, "nobody is woken for what did not happen");
    let children =
        async || store.read(|tx| tx.one("SELECT count(*) FROM children", &[], |row| row.int::<i64>(0))).await;
    assert_eq!(children().await.unwrap(), 0);

    let whole = store.write(Guard::None, |tx| {
        run_all(tx, "INSERT INTO children VALUES (1); INSERT INTO parents VALUES (1)")
    });
    whole.await.unwrap();
    assert_eq!(children().await.unwrap(), 1);
}

#[tokio::test]
async fn a_commit_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let settings = store.write(Guard::None, |tx| {
        let full: i64 = tx.one("PRAGMA synchronous", &[], |row| row.int(0))?;
        let mode = tx.one("PRAGMA journal_mode", &[], |row| Ok(row.text(0)?.to_owned()))?;
        Ok::<_, SqlError>((full, mode))
    });
    // 2 is FULL: in WAL mode each commit is synced before it returns. OFF and NORMAL are 0 and 1.
    assert_eq!(settings.await.unwrap(), (2, "wal".to_owned()));
}

#[tokio::test]
async fn nothing_is_written_outside_the_data_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let setting = |tx: &Tx<'_>| tx.one("PRAGMA temp_store", &[], |row| row.int::<i64>(0));
    // 2 is MEMORY: a large sort would otherwise need a folder for temporary files, and a container has none.
    assert_eq!(
        (store.write(Guard::None, setting).await.unwrap(), store.read(setting).await.unwrap()),
        (2, 2)
    );
}

#[tokio::test]
async fn what_waits_when_the_last_handle_is_dropped_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", SCHEMA).unwrap();
    let hold = Hold::the_writer_of(&store).await;
    for n in 0..20 {
        // Queued with the first poll; nobody waits for the answer.
        let write = store.write(Guard::None, insert(n));
        tokio::pin!(write);
        assert!(futures_util::poll!(&mut write).is_pending());
    }
    let path = store.path().to_owned();
    drop(store);
    let lock = File::open(path.with_extension("lock")).unwrap();
    hold.release().await;
    lock.lock().unwrap();
    drop(lock);
    assert_eq!(all(&Store::open(dir.path(), "s", SCHEMA).unwrap()).await, (0..20).collect::<Vec<_>>());
}

/// Where nothing but the file's times has changed since the last sync, `fsync` waits for these as well, at each commit.
#[test]
fn the_program_syncs_with_fdatasync() {
    let flags = option_env!("LIBSQLITE3_FLAGS").unwrap_or_default();
    assert!(
        flags.contains("HAVE_FDATASYNC"),
        "another LIBSQLITE3_FLAGS hides that of .cargo/config.toml: {flags:?}"
    );
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let imports = |name: &str| program.split(|byte| *byte == 0).any(|text| text == name.as_bytes());
    // A static program imports nothing. The name is put together here, so that it is not found as this test's own text.
    let name = ["fdata", "sync"].concat();
    assert!(imports(&name) || !imports("libc.so.6"));
}
