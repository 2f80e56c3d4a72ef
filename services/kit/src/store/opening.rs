//! Opening a file: checks it for damage, and brings its schema up to date.

use super::{Migration, OpenError, STATEMENTS};
use crate::runtime::crash_points;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a statement waits for another process that has the file open: a backup, an operator's look at it.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens or creates the file, checks it for damage if `check` says so, and brings its schema up to date.
pub(super) fn open(path: &Path, migrations: &[Migration], check: bool) -> Result<Connection, OpenError> {
    let corrupt = |what| OpenError::Corrupt { path: path.to_owned(), what };
    let refused = |source: rusqlite::Error| {
        if is_damage(&source) {
            corrupt(source.to_string())
        } else {
            OpenError::Sql { path: path.to_owned(), source: source.into() }
        }
    };
    refuse_a_log_without_its_database(path)?;
    let mut connection = Connection::open(path).map_err(refused)?;
    // Until the file is known to be undamaged, closing it must not write to it either.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(refused)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(refused)?;
    // A migration copies what it reads: damage must not get into the copy.
    let check = check || is_behind(&connection, migrations).map_err(refused)?;
    if check && let Some(fault) = first_fault(&connection).map_err(refused)? {
        return Err(corrupt(fault));
    }
    configure(&connection).map_err(refused)?;
    let found = migrate(&mut connection, migrations).map_err(refused)?;
    if found > migrations.len() {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known: migrations.len() });
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(refused)?;
    Ok(connection)
}

/// SQLite treats a missing or empty file as a new one, and deletes the write-ahead log (WAL) beside it: all that is left of
/// the data.
fn refuse_a_log_without_its_database(path: &Path) -> Result<(), OpenError> {
    let log = log_of(path);
    if length(path) == 0 && length(&log) > 0 {
        let what = format!("it is missing or empty, and {} beside it is not", log.display());
        return Err(OpenError::Corrupt { path: path.to_owned(), what });
    }
    Ok(())
}

/// The file that notes why the next start has to check the database, however large it is.
pub(super) fn suspicion(path: &Path) -> PathBuf {
    path.with_extension("suspect")
}

fn is_behind(connection: &Connection, migrations: &[Migration]) -> rusqlite::Result<bool> {
    Ok((1..migrations.len()).contains(&version(connection)?))
}

/// How many migrations the file has had.
fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).map(|found| found as usize)
}

/// In bytes; 0 for a file that is missing.
pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Reads every page and checks that they fit together; returns the first fault.
///
/// SQLite has no checksums of its pages: a changed letter in a text is not found here.
pub(super) fn first_fault(connection: &Connection) -> rusqlite::Result<Option<String>> {
    match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(found) => Ok((found != "ok").then(|| found.replace('\n', " "))),
        Err(error) if is_damage(&error) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Whether the error says that the file is damaged.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let said = format!("the file system does not allow WAL mode (it stays in {mode:?})");
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(said),
        ));
    }
    connection.execute_batch(
        "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA journal_size_limit=8388608; PRAGMA temp_store=MEMORY;
         PRAGMA cache_size=-8192;",
    )
}

/// Runs the migrations that the file has not had yet, each in one transaction; returns its schema number then.
fn migrate(connection: &mut Connection, migrations: &[Migration]) -> rusqlite::Result<usize> {
    let found = version(connection)?;
    for (at, parts) in migrations.iter().enumerate().skip(found) {
        let step = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for part in *parts {
            step.execute_batch(part)?;
            crash_points::reach("within-a-migration");
        }
        step.pragma_update(None, "user_version", at as i64 + 1)?;
        step.commit()?;
        crash_points::reach("after-a-migration");
    }
    Ok(found.max(migrations.len()))
}
