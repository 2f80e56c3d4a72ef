//! Servers for tests: one PostgreSQL for a test process, made on first use, with a fresh database for each test; NATS for
//! those that ask for it.

use crate::nats::{self, Nats};
use crate::postgres::{Client, Postgres, Programs, Settings};
use crate::{Error, files};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The URL of a superuser, of a server that runs already: `cargo xtask test` sets it.
pub const POSTGRES_VARIABLE: &str = "TEST_POSTGRES_URL";

/// Where `cargo xtask` installs NATS, within the folder of the tools.
const NATS_IN_TOOLS: &str = "nats/bin/nats-server";

/// How much of a test's name is seen in that of its database.
const NAME: usize = 40;

/// The server of this process.
enum Server {
    /// It ends with the process, and its folder is removed then.
    Own(Postgres),
    Given(Client),
}

/// The URL of a new, empty database in UTF-8 and the C locale, for the role that owns it. The server is the one of
/// `TEST_POSTGRES_URL`, else one of this process. None where PostgreSQL is not installed: then the test is reported as
/// skipped, or fails where `CI` is set.
///
/// It blocks for some 50 ms, the first time for two seconds.
pub fn postgres_database(name: &str) -> Option<String> {
    let client = match server()? {
        Server::Own(server) => server.client(),
        Server::Given(client) => client.clone(),
    };
    let made = files::random_password().and_then(|password| {
        let name = database_name(name, &password);
        client.create_database(&name, &password)
    });
    Some(made.unwrap_or_else(|e| panic!("no database for the test: {e}")))
}

/// A server of its own for a test that kills, pauses or configures it; none where PostgreSQL is not installed.
pub fn postgres_server(parameters: &[(&str, &str)]) -> Option<Postgres> {
    let mut settings = Settings::temporary();
    for (name, value) in parameters {
        settings = settings.parameter(name, value);
    }
    missing(Postgres::start(settings)).inspect_err(|what| test_support::skip(what)).ok()
}

/// The program of NATS: what `cargo xtask setup` has installed, else the system's. None where there is none; see
/// [`postgres_database`].
pub fn nats_program() -> Option<PathBuf> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is in infra/servers");
    let installed = tools_dir::tools_dir(root).join(NATS_IN_TOOLS);
    missing(nats::find(&[installed])).inspect_err(|what| test_support::skip(what)).ok()
}

/// A NATS server of its own; none where it is not installed.
pub fn nats_server() -> Option<Nats> {
    let server = Nats::start(nats::Settings::temporary(nats_program()?));
    Some(server.unwrap_or_else(|e| panic!("NATS does not start: {e}")))
}

/// A cluster of NATS servers; none where it is not installed.
pub fn nats_cluster(nodes: usize) -> Option<Vec<Nats>> {
    let servers = Nats::start_cluster(&nats::Settings::temporary(nats_program()?), nodes);
    Some(servers.unwrap_or_else(|e| panic!("NATS does not start: {e}")))
}

fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let started = SERVER.get_or_init(|| {
        let started = match env::var(POSTGRES_VARIABLE) {
            // Its data folder is not ours, so any version will do.
            Ok(url) if !url.is_empty() => Programs::find(Path::new("/nonexistent"))
                .map(|programs| Server::Given(Client::new(programs.psql(), url))),
            _ => Postgres::start(Settings::temporary()).map(Server::Own),
        };
        missing(started)
    });
    // Each of the tests reports it.
    started.as_ref().inspect_err(|what| test_support::skip(what)).ok()
}

/// What is missing, as an error; every other failure fails the test.
fn missing<T>(started: Result<T, Error>) -> Result<T, String> {
    match started {
        Ok(started) => Ok(started),
        Err(Error::Missing(what)) => Err(what),
        Err(e) => panic!("the server of the tests does not start: {e}"),
    }
}

/// A name that no other test's database has.
fn database_name(test: &str, random: &str) -> String {
    let plain: String = test
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(NAME)
        .collect();
    format!("test_{plain}_{}", &random[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_test_becomes_one_of_a_database() {
        assert_eq!(database_name("Über: a/b", "0123456789"), "test__ber__a_b_01234567");
        assert!(database_name(&"x".repeat(100), "0123456789").len() <= 63);
    }
}
