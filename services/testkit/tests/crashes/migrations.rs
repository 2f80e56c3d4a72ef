//! Migrations that die in the middle.

use crate::process::{aborted, this_binary};
use kit::store::{Migration, Store};
use rusqlite::Connection;
use std::path::Path;
use testkit::store_is_closed;

/// The role of the process that runs the migrations.
pub const ROLE: &str = "migrations";

const FIRST: Migration =
    &["CREATE TABLE note (n INTEGER PRIMARY KEY) STRICT; INSERT INTO note VALUES (1), (2), (3)"];
/// The first and the last would do harm if they ran twice.
const STEPS: &[Migration] = &[
    FIRST,
    &["ALTER TABLE note ADD COLUMN twice INTEGER", "UPDATE note SET twice = 2 * n"],
    &["UPDATE note SET n = n + 10"],
];

/// What that process does: it opens the store with all steps.
pub fn open_the_store() {
    let folder = std::env::var("FOLDER").expect("a folder");
    Store::open(Path::new(&folder), "s", STEPS).expect("a store");
}

/// Runs all steps on a store that has the first one, dies at this crash point, and returns the version of the schema
/// that is left.
async fn dies(at: &str) -> i64 {
    let dir = tempfile::tempdir().expect("a folder");
    drop(Store::open(dir.path(), "s", &[FIRST]).expect("a store"));
    store_is_closed(dir.path(), "s").await;
    let mut command = this_binary(ROLE);
    let status = command.env("FOLDER", dir.path()).env("CRASH_AT", at).status().expect("a process");
    assert!(aborted(status), "{status}");
    let c = Connection::open(dir.path().join("s.db")).expect("a file");
    let schema = c.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a number");
    drop(c);
    let store = Store::open(dir.path(), "s", STEPS).expect("a store");
    let notes =
        store.read(|tx| tx.query("SELECT n, twice FROM note", &[], |row| Ok((row.int(0)?, row.int(1)?))));
    let notes: Vec<(i64, i64)> = notes.await.expect("notes");
    assert_eq!(notes, [(11, 2), (12, 4), (13, 6)], "every step once");
    schema
}

#[tokio::test]
async fn a_step_that_dies_between_its_parts_has_never_been() {
    assert_eq!(dies("within-a-migration").await, 1);
    assert_eq!(dies("within-a-migration:2").await, 1, "the whole step but its commit");
}

#[tokio::test]
async fn steps_that_are_done_are_not_done_again() {
    assert_eq!(dies("after-a-migration").await, 2);
    assert_eq!(dies("after-a-migration:2").await, 3);
}
