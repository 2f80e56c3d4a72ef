//! The servers that tests use: one PostgreSQL for a whole run, so that not each test program makes its own.

use crate::shell::{Shell, is_ci};
use crate::{packages, tools};
use anyhow::{Context, Result, bail};
use servers::postgres::{Postgres, Settings};
use std::env;
use std::ffi::OsString;

/// Names the server for the tests.
const VARIABLE: &str = "TEST_POSTGRES_URL";
/// Many programs of tests run at the same time, each of which may open a dozen stores of eight connections.
const CONNECTIONS: &str = "800";

/// Servers that end when this is dropped.
#[derive(Debug, Default)]
pub struct TestServers {
    postgres: Option<Postgres>,
    /// What tests report as skipped, and why.
    pub missing: Vec<String>,
}

/// Installs what is missing where that can be done. Returns what cannot be tested without what is still missing.
pub fn install(shell: &Shell) -> Vec<String> {
    let nats = tools::install_nats(shell).err().map(|e| format!("NATS: {e:#}"));
    let postgres = packages::install_database(shell).err().map(|e| format!("PostgreSQL: {e:#}"));
    nats.into_iter().chain(postgres).collect()
}

/// Starts PostgreSQL, unless the environment names a server.
pub fn start(shell: &Shell) -> Result<TestServers> {
    let missing = install(shell);
    if is_ci() && !missing.is_empty() {
        bail!("CI is set, and what the tests take is missing: {}", missing.join("; "));
    }
    let is_given = env::var_os(VARIABLE).is_some_and(|url| !url.is_empty());
    let postgres = if is_given || !packages::has_database() {
        None
    } else {
        let settings = Settings::temporary().parameter("max_connections", CONNECTIONS);
        Some(Postgres::start(settings).context("the database of the tests does not start")?)
    };
    Ok(TestServers { postgres, missing })
}

impl TestServers {
    /// For the environment of test programs.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        self.postgres.iter().map(|server| (VARIABLE, server.url("postgres").into())).collect()
    }
}
