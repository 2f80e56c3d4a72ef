//! Files that are damaged: refused by name and left as they are.

use super::*;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

const NOTES: &[Migration] =
    &[&["CREATE TABLE note (n INTEGER PRIMARY KEY, said TEXT NOT NULL UNIQUE) STRICT"]];

fn note(n: i64) -> impl Fn(&Tx<'_>) -> Result<(), SqlError> + Send + 'static {
    move |tx| {
        tx.execute("INSERT INTO note VALUES ($1, $2)", values![n, &format!("{n} {}", "x".repeat(80))])
            .map(drop)
    }
}

async fn notes(store: &Store) -> Result<Vec<(i64, String)>, SqlError> {
    let rows = store.read(|tx| {
        tx.query("SELECT n, said FROM note ORDER BY n", &[], |row| Ok((row.int(0)?, row.text(1)?.to_owned())))
    });
    rows.await.map_err(|e| match e {
        ReadError::Sql(error) => error,
        ReadError::Stopped | ReadError::Panicked | ReadError::Unavailable(_) => super::refusal(),
    })
}

/// A file with some hundred notes, cleanly closed.
async fn whole_file() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", NOTES).unwrap();
    for n in 0..400 {
        store.write(Guard::None, note(n)).await.unwrap();
    }
    close(store).await;
    std::fs::read(dir.path().join("s.db")).unwrap()
}

/// What a process leaves that began with this file and is killed after some notes: the database, and its log.
async fn after_a_kill(database: &[u8], numbers: std::ops::Range<i64>) -> (Vec<u8>, Vec<u8>) {
    let (dir, store) = opened(&[("s.db", database)]);
    let store = store.unwrap();
    for n in numbers {
        store.write(Guard::None, note(n)).await.unwrap();
    }
    let read = |name| std::fs::read(dir.path().join(name)).unwrap();
    (read("s.db"), read("s.db-wal"))
}

/// Opens a store out of these files.
fn opened(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Result<Store, OpenError>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let result = Store::open(dir.path(), "s", NOTES);
    if result.is_err() {
        for (name, content) in files {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), *content, "{name} is as it was");
        }
    }
    (dir, result)
}

/// What a refusal of these files says.
fn refusal(files: &[(&str, &[u8])]) -> String {
    let error = opened(files).1.unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt { path, .. } if path.ends_with("s.db")), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_damaged_file_is_refused_by_name_and_left_alone() {
    let whole = whole_file().await;
    let mut no_header = whole.clone();
    no_header[..100].fill(0xff);
    assert!(refusal(&[("s.db", &no_header)]).contains("s.db is damaged: file is not a database"));
    let half = &whole[..whole.len() / 2];
    assert!(refusal(&[("s.db", half)]).contains("s.db is damaged"));
    let torn = &whole[..whole.len() - 1000];
    assert!(refusal(&[("s.db", torn)]).contains("s.db is damaged"));
    let (mut database, log) = after_a_kill(&whole, 400..410).await;
    database[5 * 4096..12 * 4096].fill(0xff);
    assert!(refusal(&[("s.db", &database), ("s.db-wal", &log)]).contains("s.db is damaged"));
}

#[tokio::test]
async fn whatever_page_is_overwritten_is_noticed() {
    let whole = whole_file().await;
    let pages = whole.len() / 4096;
    assert!(pages > 20);
    for page in 0..pages {
        let mut damaged = whole.clone();
        let noise = (0..4096_usize).map(|at| (at * 7 + page * 13 + 1) as u8);
        damaged.splice(page * 4096..(page + 1) * 4096, noise);
        refusal(&[("s.db", &damaged)]);
    }
}

#[tokio::test]
async fn damage_in_a_large_file_is_found_in_the_background_and_refused_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open_with(dir.path(), "s", NOTES, Options { check_up_to: 0, ..Options::default() });
    let (database, whole) = (dir.path().join("s.db"), whole_file().await);
    let mut damaged = whole.clone();
    damaged[12 * 4096..13 * 4096].fill(0xff);
    std::fs::write(&database, &damaged).unwrap();

    let store = open().expect("it is too large to be checked before it is used");
    let watched = crate::app::service::watch_store(store.clone(), CancellationToken::new());
    rt::timeout(Duration::from_secs(20), watched).await.expect("the damage is found");
    let said = store.failure().await;
    assert!(said.contains("s.db is damaged"), "{said}");
    assert!(matches!(store.write(Guard::None, note(1_000)).await, Err(WriteError::Unavailable(_))));
    close(store).await;
    let refused = open().map(drop).unwrap_err();
    assert_eq!(refused.to_string(), said);
    assert_eq!(open().map(drop).unwrap_err().to_string(), said, "however often");

    // A migration copies what it reads.
    std::fs::remove_file(dir.path().join("s.suspect")).unwrap();
    let newer = &[NOTES[0], &["CREATE TABLE newer (n INTEGER) STRICT"]];
    let upgrade =
        || Store::open_with(dir.path(), "s", newer, Options { check_up_to: 0, ..Options::default() });
    assert_eq!(upgrade().map(drop).unwrap_err().to_string(), said, "before it is migrated");
    assert_eq!(std::fs::read(&database).unwrap(), damaged);

    std::fs::write(&database, &whole).unwrap();
    std::fs::write(dir.path().join("s.suspect"), "a failing disk").unwrap();
    let store = open().expect("it was restored");
    close(store).await;
    let store = open().unwrap();
    assert!(!store.is_checked(), "as large as it is, it is opened at once again");
    store.check_in_background().await;
    store.write(Guard::None, note(1_000)).await.unwrap();
}

#[tokio::test]
async fn a_wal_without_its_database_is_not_deleted() {
    let (database, log) = after_a_kill(&[], 0..20).await;
    assert!(refusal(&[("s.db-wal", &log)]).contains("missing or empty"));
    assert!(refusal(&[("s.db", &[]), ("s.db-wal", &log)]).contains("s.db-wal"));
    let (_dir, store) = opened(&[("s.db", &database), ("s.db-wal", &log)]);
    assert_eq!(notes(&store.unwrap()).await.unwrap().len(), 20);
    // A process that was killed as it began leaves this: there is nothing to lose.
    opened(&[("s.db", &[])]).1.unwrap();
}

#[test]
fn a_damaged_wal_costs_its_tail_and_never_leaves_a_hole() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (database, log) = runtime.block_on(after_a_kill(&[], 0..60));
    let lost = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(40), |(at in any::<prop::sample::Index>(), flip in 1..=255_u8)| {
        let mut damaged = log.clone();
        damaged[at.index(log.len())] ^= flip;
        let (_dir, store) = opened(&[("s.db", &database), ("s.db-wal", &damaged)]);
        // Where the schema itself was in the lost tail, the store is new: it has no notes.
        if let Ok(store) = store {
            let read = runtime.block_on(notes(&store)).unwrap();
            lost.set(lost.get() + usize::from(read.len() < 60));
            prop_assert!(read.iter().map(|note| note.0).eq(0..read.len() as i64), "without a hole");
        }
    });
    assert!(lost.get() > 0, "the damage was felt");
}
