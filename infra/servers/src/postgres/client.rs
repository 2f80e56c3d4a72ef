//! Statements of an administrator, through `psql`: no driver is linked for a handful of them.

use crate::Error;
use crate::files::last_lines;
use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs statements with a URL.
#[derive(Debug, Clone)]
pub struct Client {
    psql: PathBuf,
    url: String,
}

/// A program that sees nothing of our settings for PostgreSQL and of our language.
pub(super) fn clean(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C").envs(env::var_os("PATH").map(|path| ("PATH", path)));
}

impl Client {
    pub fn new(psql: impl Into<PathBuf>, url: impl Into<String>) -> Self {
        Self { psql: psql.into(), url: url.into() }
    }

    /// Runs statements one after the other until one fails. Returns the rows, a line each, with tabs between columns.
    pub fn run(&self, sql: &str) -> Result<String, Error> {
        let mut command = Command::new(&self.psql);
        clean(&mut command);
        let (url, password) = without_password(&self.url);
        // Other users can read the arguments of a process, but not its environment.
        command.envs(password.map(|password| ("PGPASSWORD", password))).env("PGCONNECT_TIMEOUT", "10");
        command.args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["--field-separator=\t", "--set=ON_ERROR_STOP=1", "--file=-"]).arg(url);
        command.current_dir(Path::new("/"));
        let run = |source| Error::Run { program: "psql", source };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(run)?;
        if let Some(mut input) = child.stdin.take() {
            // If it cannot connect it reads nothing, and says why.
            let _ = input.write_all(sql.as_bytes());
        }
        let output = child.wait_with_output().map_err(run)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let said = last_lines(&String::from_utf8_lossy(&output.stderr));
        Err(Error::Failed { program: "psql", status: output.status.to_string(), said })
    }

    /// Creates a database in UTF-8 and the C locale, and a role of the same name that owns it, as far as they are
    /// missing; the role gets this password. Nobody else may connect. Returns the role's URL.
    pub fn create_database(&self, name: &str, password: &str) -> Result<String, Error> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.len() > 63 || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(plain)
        {
            return Err(Error::Name { name: name.to_owned() });
        }
        // A password of ours is hexadecimal, so that it needs no quoting in a URL either.
        if password.is_empty() || !password.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::Name { name: "a password with other than letters and digits".to_owned() });
        }
        let exists = self.run(&format!(
            "SELECT (SELECT count(*) FROM pg_roles WHERE rolname = '{name}'),
                    (SELECT count(*) FROM pg_database WHERE datname = '{name}')"
        ))?;
        let role = if exists.starts_with('0') { format!("CREATE ROLE {name};") } else { String::new() };
        let database = if exists.ends_with('0') {
            format!(
                "CREATE DATABASE {name} OWNER {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';"
            )
        } else {
            String::new()
        };
        let sql = format!(
            "{role}
             ALTER ROLE {name} LOGIN PASSWORD '{password}';
             {database}
             REVOKE ALL ON DATABASE {name} FROM PUBLIC;"
        );
        self.run(&sql)?;
        Ok(with_role(&self.url, name, password))
    }
}

/// The URL without its password, and the password. As it is if there is none.
fn without_password(url: &str) -> (String, Option<&str>) {
    let parts = || {
        let (scheme, rest) = url.split_once("://")?;
        let (user, host) = rest.rsplit_once('@')?;
        let (user, password) = user.split_once(':')?;
        // `psql` takes the environment literally.
        (!password.contains('%')).then(|| (format!("{scheme}://{user}@{host}"), Some(password)))
    };
    parts().unwrap_or_else(|| (url.to_owned(), None))
}

/// The URL of the same server for another role and the database of its name.
fn with_role(url: &str, name: &str, password: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let (host, parameters) =
        rest.split_once('?').map_or((rest, String::new()), |(h, p)| (h, format!("?{p}")));
    let host = host.split_once('/').map_or(host, |(host, _)| host);
    format!("postgres://{name}:{password}@{host}/{name}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_role_is_the_servers() {
        let given = "postgresql://postgres:pw@127.0.0.1:5432/postgres?sslmode=disable";
        assert_eq!(with_role(given, "a", "b"), "postgres://a:b@127.0.0.1:5432/a?sslmode=disable");
        assert_eq!(with_role("postgres://db", "a", "b"), "postgres://a:b@db/a");
        let (url, password) = without_password(given);
        assert_eq!(url, "postgresql://postgres@127.0.0.1:5432/postgres?sslmode=disable");
        assert_eq!(password, Some("pw"));
        assert_eq!(without_password("postgres://db/x"), ("postgres://db/x".to_owned(), None));
    }

    #[test]
    fn names_that_need_quoting_are_refused() {
        let client = Client::new("no-such-program", "postgres://db");
        let long = "a".repeat(64);
        for name in ["", "A", "1a", "a-b", "a;b", "a'b", &long] {
            assert!(matches!(client.create_database(name, "x"), Err(Error::Name { .. })), "{name}");
        }
    }
}
