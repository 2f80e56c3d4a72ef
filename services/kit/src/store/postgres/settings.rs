//! From a URL to the settings of a connection. A parameter that is not known is refused by its name.

use super::super::database_url::DatabaseUrl;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

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
    /// One for each host, in the order of the URL. The one that takes writes is looked for.
    pub hosts: Vec<Config>,
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
        config
            .ssl_mode(ssl_mode)
            // After a failover another one does.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(11));
        Ok(Self { hosts: each_host(&config), protection })
    }
}

/// The same settings with one host each: a host that does not answer must not use up the time of the next.
fn each_host(all: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    (0..hosts.len().max(addresses.len()))
        .map(|at| {
            let mut one = Config::new();
            all.get_user().map(|user| one.user(user));
            all.get_password().map(|password| one.password(password));
            all.get_dbname().map(|name| one.dbname(name));
            all.get_options().map(|options| one.options(options));
            all.get_application_name().map(|name| one.application_name(name));
            all.get_connect_timeout().map(|timeout| one.connect_timeout(*timeout));
            all.get_tcp_user_timeout().map(|timeout| one.tcp_user_timeout(*timeout));
            all.get_keepalives_interval().map(|interval| one.keepalives_interval(interval));
            all.get_keepalives_retries().map(|retries| one.keepalives_retries(retries));
            one.keepalives(all.get_keepalives()).keepalives_idle(all.get_keepalives_idle());
            one.ssl_mode(all.get_ssl_mode()).target_session_attrs(all.get_target_session_attrs());
            match hosts.get(at) {
                Some(Host::Tcp(host)) => drop(one.host(host)),
                Some(Host::Unix(folder)) => drop(one.host_path(folder)),
                None => {}
            }
            addresses.get(at).map(|address| one.hostaddr(*address));
            // One port may stand for all.
            ports.get(at).or(ports.first()).map(|port| one.port(*port));
            one
        })
        .collect()
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
        let [config, second] = &settings.hosts[..] else { panic!("{settings:?}") };
        assert_eq!((config.get_user(), config.get_dbname()), (Some("blog"), Some("posts")));
        assert_eq!(config.get_password(), Some(&b"pass/word"[..]));
        assert_eq!((config.get_hosts(), config.get_ports()), (&[Host::Tcp("a".to_owned())][..], &[5433][..]));
        assert_eq!((second.get_hosts(), second.get_ports()), (&[Host::Tcp("b".to_owned())][..], &[5432][..]));
        assert_eq!(second.get_password(), config.get_password());
        assert_eq!(config.get_options(), Some("-csearch_path=x"));
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_application_name(), Some("mini-blog posts"));
        let system = parse("postgres://db/posts?sslmode=verify-full&sslrootcert=system").unwrap();
        assert_eq!(system.protection, Protection::Verified { roots: None });
        let plain = parse("postgres://db/posts").unwrap();
        assert_eq!(
            (plain.protection, plain.hosts[0].get_ssl_mode()),
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
