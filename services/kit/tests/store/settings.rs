//! What a person has to mend is said in one line, and nothing is changed.

use super::{SCHEMA, TABLES, connect, database, insert, keys, located, psql, url_of};
use kit::store::{DatabaseLocation, Guard, Schema, Store};

async fn refused(location: &DatabaseLocation, name: &str, schema: Schema) -> String {
    let error = Store::connect(location, name, schema).await.unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_named() {
    let Some(location) = database("settings").await else { return };
    let url = url_of(&location);
    let (credentials, place) = url.split_once('@').unwrap();
    let (user, password) = credentials.rsplit_once(':').unwrap();
    for (url, named) in [
        (format!("{user}:wrong@{place}"), "check the user and its password"),
        (format!("{url}_missing"), "create it, or correct the URL"),
        (format!("{url}?pool=3"), "the parameter pool is not known"),
        (format!("{url}?sslmode=require"), "TLS"),
        (format!("{url}?options=-csearch_path%3Dnowhere"), "no schema has been selected"),
        (format!("{user}@{place}"), "password"),
    ] {
        let error = refused(&located(&url), "s", SCHEMA).await;
        assert!(error.contains(named), "{error}");
        assert!(!error.contains(password), "{error}");
    }
    let file = tempfile::tempdir().unwrap();
    let missing = DatabaseLocation::File(file.path().join("url"));
    assert!(refused(&missing, "s", SCHEMA).await.contains("cannot read"));
}

#[tokio::test]
async fn another_services_database_is_refused() {
    let Some(location) = database("anothers").await else { return };
    let store = connect(&location).await;
    store.write(Guard::None, insert("k")).await.unwrap();
    let error = refused(&location, "other", SCHEMA).await;
    assert!(error.contains("it holds the data of s"), "{error}");
    let Some(location) = database("full").await else { return };
    psql(&url_of(&location), "CREATE TABLE names (x INTEGER)").await;
    let error = refused(&location, "s", SCHEMA).await;
    assert!(error.contains("already exists") && error.contains("an empty one"), "{error}");
    let tables = "SELECT count(*) FROM pg_tables WHERE tableowner = current_user AND tablename = 't'";
    assert_eq!(psql(&url_of(&location), tables).await.trim(), "0", "nothing is left of the attempt");
    assert_eq!(keys(&store).await, ["k"]);
}

const LATER: Schema = Schema {
    present: &["CREATE TABLE t (n INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, more TEXT) STRICT"],
    history: &[TABLES, &["ALTER TABLE t ADD COLUMN more TEXT"]],
    oldest_program: 1,
};

#[tokio::test]
async fn an_old_replica_runs_on_the_new_schema() {
    let Some(location) = database("new schema").await else { return };
    let old = connect(&location).await;
    old.write(Guard::None, insert("before")).await.unwrap();
    let new = Store::connect(&location, "s", LATER).await.unwrap();
    let write = |tx: &kit::store::Tx<'_>| tx.execute("INSERT INTO t (key, more) VALUES ('new', 'x')", &[]);
    new.write(Guard::None, write).await.unwrap();
    old.write(Guard::None, insert("old")).await.unwrap();
    let again = connect(&location).await;
    assert_eq!(keys(&again).await, ["before", "new", "old"], "one that starts only now, too");
}

#[tokio::test]
async fn a_program_that_is_too_old_for_the_schema_is_refused() {
    const SHARP: Schema = Schema { oldest_program: 2, ..LATER };
    let Some(location) = database("too old").await else { return };
    connect(&location).await;
    Store::connect(&location, "s", SHARP).await.unwrap();
    let error = refused(&location, "s", SCHEMA).await;
    assert!(error.contains("knows only up to 1: use a newer one"), "{error}");
}

#[tokio::test]
async fn a_database_that_is_not_in_utf8_is_refused() {
    let Some(mut server) =
        tokio::task::spawn_blocking(|| servers::testing::postgres_server(&[])).await.unwrap()
    else {
        return;
    };
    let superuser = server.url("postgres");
    psql(&superuser, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").await;
    let error = refused(&located(&server.url("latin")), "s", SCHEMA).await;
    assert!(error.contains("its encoding is LATIN1"), "{error}");
    server.stop();
}
