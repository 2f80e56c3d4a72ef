//! From a URL to the settings of a connection. A parameter that is not known is refused by its name.

use super::super::database_url::DatabaseUrl;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

/// The parameters of a URL that are passed on as they are.
const PASSED: &[&str] = &[
    "user",
    "password",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "options",
    "application_name",
    "connect_timeout",
];

/// How the connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protection {
    /// `disable`, `prefer`, `require`: the certificate is not checked.
    Unverified,
    /// `verify-full`: by the roots in this file, or the system's.
    Verified { roots: Option<PathBuf> },
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub config: Config,
    pub protection: Protection,
}

/// Why a URL cannot be used. Shows no value but that of `sslmode`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum UrlError {
    #[error("the parameter {0} is not known; known are sslmode, sslrootcert, {known}", known = PASSED.join(", "))]
    UnknownParameter(String),
    #[error("sslmode is {0:?}; it can be disable, prefer, require or verify-full")]
    SslMode(String),
    #[error("sslrootcert needs sslmode=verify-full")]
    UnusedRoots,
    #[error("{0}")]
    Unreadable(String),
    #[error("it names no host")]
    NoHost,
    #[error("it names no database: write postgres://USER@HOST/DATABASE")]
    NoDatabase,
}

impl Settings {
    pub(super) fn parse(url: &DatabaseUrl, program: &str) -> Result<Self, UrlError> {
        let (place, query) = split_query(url.expose());
        let (mut passed, mut mode, mut roots) = (Vec::new(), "prefer".to_owned(), None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" => value.clone_into(&mut mode),
                "sslrootcert" => roots = Some(value.to_owned()),
                _ if PASSED.contains(&name) => passed.push(pair),
                _ => return Err(UrlError::UnknownParameter(name.to_owned())),
            }
        }
        let ssl_mode = match mode.as_str() {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" | "verify-full" => SslMode::Require,
            _ => return Err(UrlError::SslMode(mode)),
        };
        let protection = match (mode == "verify-full", roots) {
            (false, None) => Protection::Unverified,
            (false, Some(_)) => return Err(UrlError::UnusedRoots),
            // As libpq calls the roots of the system.
            (true, roots) => Protection::Verified {
                roots: roots.filter(|path| path != "system").map(|path| decoded(&path).into()),
            },
        };
        let text = if passed.is_empty() { place.to_owned() } else { format!("{place}?{}", passed.join("&")) };
        let mut config: Config =
            text.parse().map_err(|error: tokio_postgres::Error| UrlError::Unreadable(why(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(UrlError::NoHost);
        }
        if config.get_dbname().is_none() {
            return Err(UrlError::NoDatabase);
        }
        if config.get_application_name().is_none() {
            config.application_name(program);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(super::DEADLINE);
        }
        config
            .ssl_mode(ssl_mode)
            // Of several hosts, and after a failover, the one that takes writes.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(11));
        Ok(Self { config, protection })
    }
}

/// As `tokio_postgres` splits it: the first `@` ends the credentials.
fn split_query(url: &str) -> (&str, &str) {
    let credentials = url.find('@').unwrap_or(0);
    match url[credentials..].find('?') {
        Some(at) => (&url[..credentials + at], &url[credentials + at + 1..]),
        None => (url, ""),
    }
}

/// With `%2F` and the like in place of what it stands for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The error with its causes, which the library's own text leaves out.
pub(super) fn why(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Settings, UrlError> {
        Settings::parse(&url.parse().unwrap(), "mini-blog posts")
    }

    #[test]
    fn what_a_url_says_is_used() {
        let settings = parse("postgres://blog:pass%2Fword@a:5433,b/posts?sslmode=verify-full&sslrootcert=%2Fca.crt&options=-csearch_path%3Dx").unwrap();
        assert_eq!(settings.protection, Protection::Verified { roots: Some("/ca.crt".into()) });
        let config = settings.config;
        assert_eq!((config.get_user(), config.get_dbname()), (Some("blog"), Some("posts")));
        assert_eq!(config.get_password(), Some(&b"pass/word"[..]));
        assert_eq!((config.get_hosts().len(), config.get_ports()), (2, &[5433, 5432][..]));
        assert_eq!(config.get_options(), Some("-csearch_path=x"));
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_application_name(), Some("mini-blog posts"));
        let system = parse("postgres://db/posts?sslmode=verify-full&sslrootcert=system").unwrap();
        assert_eq!(system.protection, Protection::Verified { roots: None });
        let plain = parse("postgres://db/posts").unwrap();
        assert_eq!(
            (plain.protection, plain.config.get_ssl_mode()),
            (Protection::Unverified, SslMode::Prefer)
        );
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        for (url, named) in [
            ("postgres://u:hidden@db/x?pool=3", "the parameter pool is not known"),
            ("postgres://u:hidden@db/x?sslmode=verify-ca", "verify-full"),
            ("postgres://u:hidden@db/x?sslrootcert=/a", "needs sslmode=verify-full"),
            ("postgres://u:hidden@db", "names no database"),
            ("postgres://u:hidden@/x", "names no host"),
            ("postgres://u:hidden@db:port/x", "port"),
            ("postgres://u:hidden@db/x?connect_timeout=soon", "connect_timeout"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("hidden"), "{url}: {error}");
        }
    }
}
