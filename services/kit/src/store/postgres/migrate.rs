//! Checks that a database can be used, and brings its schema up to date.

use super::ddl::translated;
use super::error::{CallError, Class};
use super::session::{ConnectError, Session};
use super::{Program, lock_number};
use crate::rt;
use crate::runtime::crash_points;
use crate::store::Schema;
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;

/// The longest that one step may take: it may rewrite a table.
const STEP_LIMIT: Duration = Duration::from_secs(600);
/// The oldest server that is tested.
const OLDEST_SERVER: i64 = 140_000;
/// In this table stands which service a database belongs to, the number of its schema, and the oldest program that may
/// use it: while replicas are replaced, old ones meet the new schema.
const VERSION_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS schema_version (
        service TEXT NOT NULL,
        version BIGINT NOT NULL,
        oldest_program BIGINT NOT NULL
    )";

/// Where a person has to do something, the error says what.
pub(super) async fn prepare(
    session: &Session,
    program: &Program,
    schema: &Schema,
) -> Result<(), ConnectError> {
    let refused = |why: String| Err(ConnectError::Refused(format!("{}: {why}", program.place())));
    let encoding = text(session, "SHOW server_encoding").await?;
    if encoding != "UTF8" {
        return refused(format!("its encoding is {encoding}: create it with ENCODING 'UTF8'"));
    }
    let version: i64 = text(session, "SHOW server_version_num").await?.parse().unwrap_or(0);
    if version < OLDEST_SERVER {
        return refused(format!("the server has version {version}: use PostgreSQL 14 or later"));
    }
    lock(session, program).await?;
    let prepared = migrate(session, program, schema).await;
    if prepared.is_ok() {
        let number = lock_number(&program.namespace, "schema", "");
        text(session, &format!("SELECT pg_advisory_unlock({number})")).await?;
    }
    prepared
}

/// One replica migrates at a time.
async fn lock(session: &Session, program: &Program) -> Result<(), ConnectError> {
    let number = lock_number(&program.namespace, "schema", "");
    let sql = format!("SELECT 1 FROM pg_advisory_lock({number})");
    let mut waits = false;
    loop {
        match session.shared.ask(session.client.batch_execute(&sql)).await {
            Ok(()) => return Ok(()),
            Err(error) if error.class() == Class::Busy => {}
            Err(error) => return Err(failure(program, &error)),
        }
        if !std::mem::replace(&mut waits, true) {
            tracing::info!("another replica brings the schema up to date: waiting for it");
        }
        if program.stop.is_cancelled() {
            return Err(ConnectError::Unreachable("the store has ended".to_owned()));
        }
    }
}

async fn migrate(session: &Session, program: &Program, schema: &Schema) -> Result<(), ConnectError> {
    let refused = |why: String| Err(ConnectError::Refused(format!("{}: {why}", program.place())));
    let service = &program.service;
    run(session, program, VERSION_TABLE).await?;
    let known = schema.history.len();
    let oldest = schema.oldest_program;
    let Some((owner, found, oldest_there)) = version(session).await? else {
        let tables = schema.present.iter().map(|part| translated(part)).collect::<String>();
        let note = format!("INSERT INTO schema_version VALUES ('{service}', {known}, {oldest})");
        return step(session, program, &tables, &note).await;
    };
    if owner != *service {
        return refused(format!("it holds the data of {owner}: give each service a database of its own"));
    }
    if found > known && oldest_there > known {
        return refused(format!(
            "its schema is number {found}, and this program knows only up to {known}: use a newer one"
        ));
    }
    for (at, parts) in schema.history.iter().enumerate().skip(found) {
        let statements = parts.iter().map(|part| translated(part)).collect::<String>();
        let number = at + 1;
        let note = format!(
            "UPDATE schema_version SET version = {number}, oldest_program = greatest(oldest_program, {oldest})"
        );
        step(session, program, &statements, &note).await?;
    }
    Ok(())
}

/// In one transaction.
async fn step(
    session: &Session,
    program: &Program,
    statements: &str,
    note: &str,
) -> Result<(), ConnectError> {
    crash_points::reach("within-a-migration");
    run(session, program, &format!("BEGIN; {statements}; {note}; COMMIT")).await?;
    crash_points::reach("after-a-migration");
    Ok(())
}

async fn run(session: &Session, program: &Program, sql: &str) -> Result<(), ConnectError> {
    let ran = rt::timeout(STEP_LIMIT, session.client.batch_execute(sql)).await;
    let ran = ran.map_err(|_| ConnectError::Unreachable("a step of the schema takes too long".to_owned()))?;
    ran.map_err(|error| failure(program, &error.into()))
}

async fn version(session: &Session) -> Result<Option<(String, usize, usize)>, ConnectError> {
    let Some(row) = row(session, "SELECT service, version, oldest_program FROM schema_version").await? else {
        return Ok(None);
    };
    let [service, version, oldest] = &row[..] else { return Ok(None) };
    Ok(Some((service.clone(), version.parse().unwrap_or(0), oldest.parse().unwrap_or(0))))
}

/// The first column of the first row.
pub(super) async fn text(session: &Session, sql: &str) -> Result<String, ConnectError> {
    let first = row(session, sql).await?.and_then(|row| row.into_iter().next());
    first.ok_or_else(|| ConnectError::Unreachable(format!("{sql} has returned nothing")))
}

/// The first row, as text. Without a prepared statement, which some poolers do not know.
async fn row(session: &Session, sql: &str) -> Result<Option<Vec<String>>, ConnectError> {
    let messages = session.shared.ask(session.client.simple_query(sql)).await;
    let messages = messages.map_err(|error| ConnectError::Unreachable(error.to_string()))?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    }))
}

fn failure(program: &Program, error: &CallError) -> ConnectError {
    let text = format!("{}: {error}", program.place());
    match error {
        CallError::Server { code, .. } if code == "42501" => ConnectError::Refused(format!(
            "{text}: make the user the owner of the database, or grant it CREATE on the schema"
        )),
        CallError::Server { code, .. } if code == "42P07" => ConnectError::Refused(format!(
            "{text}: the database holds tables of something else: give this service an empty one"
        )),
        CallError::Server { .. } if matches!(error.class(), Class::Data | Class::Program) => {
            ConnectError::Refused(text)
        }
        _ => ConnectError::Unreachable(text),
    }
}
