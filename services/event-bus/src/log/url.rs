//! Where the log is, if not in the bus's own store: the URL of NATS servers.

#![cfg_attr(
    not(feature = "jetstream"),
    allow(dead_code, reason = "the settings are known, the log is not compiled")
)]

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The stream, and the first token of its subjects, where the URL names none.
const DEFAULT_STREAM: &str = "ev";
const DEFAULT_PORT: u16 = 4222;
/// The longest name of a stream.
const MAX_STREAM: usize = 32;

/// `nats://user:password@host:port,host:port/stream?replicas=3&ca=FILE`. It may hold a password, which neither `Debug`
/// nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct EventLogUrl {
    pub(super) credentials: Credentials,
    /// `host:port` of each server.
    pub(super) servers: Vec<String>,
    /// Whether the URL began with `tls://`.
    pub(super) tls: bool,
    pub(super) stream: String,
    /// How many servers hold each event.
    pub(super) replicas: u8,
    /// The certificates that the servers' are checked with [default: those of the system].
    pub(super) ca: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Token(String),
    User { name: String, password: String },
}

/// Why a text is not accepted; the error does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL of the event log {0}")]
pub struct BadUrl(&'static str);

impl FromStr for EventLogUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: BadUrl = BadUrl(
            "must be nats://host:port or tls://host:port, with user:password@ or token@ before the host",
        );
        let (scheme, rest) = text.trim().split_once("://").ok_or(FORM)?;
        let tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err(FORM),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (rest, stream) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match rest.rsplit_once('@') {
            None => (Credentials::None, rest),
            Some((user, hosts)) => (credentials(user).ok_or(FORM)?, hosts),
        };
        let servers = hosts.split(',').map(server).collect::<Option<Vec<_>>>().ok_or(FORM)?;
        let stream = if stream.is_empty() { DEFAULT_STREAM } else { stream };
        if stream.len() > MAX_STREAM
            || !stream.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        {
            return Err(BadUrl("must name a stream of at most 32 letters, digits, _ and -"));
        }
        let mut url = Self { credentials, servers, tls, stream: stream.to_owned(), replicas: 1, ca: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("replicas", count)) => {
                    let count = count.parse().ok().filter(|count| matches!(count, 1 | 3 | 5));
                    url.replicas = count.ok_or(BadUrl("must have 1, 3 or 5 replicas"))?;
                }
                Some(("ca", path)) if tls && !path.is_empty() => url.ca = Some(path.into()),
                _ => return Err(BadUrl("takes the parameters replicas and, with tls://, ca only")),
            }
        }
        Ok(url)
    }
}

fn credentials(text: &str) -> Option<Credentials> {
    Some(match text.split_once(':') {
        Some((name, password)) => Credentials::User { name: decoded(name)?, password: decoded(password)? },
        None => Credentials::Token(decoded(text)?),
    })
}

/// Decodes `%40` and the like.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

fn server(text: &str) -> Option<String> {
    // An IPv6 address stands in brackets.
    let port = text.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let (host, port) = match port {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, DEFAULT_PORT),
    };
    let fits = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b));
    fits.then(|| format!("{host}:{port}"))
}

impl EventLogUrl {
    /// The addresses in the form of the library.
    pub(super) fn addresses(&self) -> Vec<String> {
        let scheme = if self.tls { "tls" } else { "nats" };
        self.servers.iter().map(|server| format!("{scheme}://{server}")).collect()
    }
}

impl fmt::Display for EventLogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}/{}", self.servers.join(","), self.stream)
    }
}

impl fmt::Debug for EventLogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventLogUrl({self})")
    }
}

/// Reads the URL from a flag or a variable: clap's own parsers would repeat a refused value in the error.
#[derive(Debug, Clone, Copy)]
pub struct EventLogUrlParser;

impl TypedValueParser for EventLogUrlParser {
    type Value = EventLogUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<EventLogUrl, clap::Error> {
        let url = value.to_str().unwrap_or_default().parse();
        url.map_err(|error: BadUrl| {
            let message = format!("--event-log-url: {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// Where the URL is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventLogLocation {
    /// In the settings.
    Url(EventLogUrl),
    /// In a file, which is read before each connection: whoever changes the password replaces it.
    File(PathBuf),
}

/// Why the URL is not known.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    #[error("cannot read {}, the file with the URL of the event log: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Content { path: PathBuf, source: BadUrl },
}

impl EventLogLocation {
    /// The URL, as of now.
    pub fn read(&self) -> Result<EventLogUrl, LocationError> {
        let path = match self {
            Self::Url(url) => return Ok(url.clone()),
            Self::File(path) => path,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| LocationError::File { path: path.clone(), source })?;
        text.parse().map_err(|source| LocationError::Content { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_servers_stream_and_replicas() {
        let url: EventLogUrl =
            "tls://bus:p%40ss@a,b:4333,[::1]:1/log?replicas=3&ca=/run/ca.pem\n".parse().unwrap();
        assert_eq!(url.addresses(), ["tls://a:4222", "tls://b:4333", "tls://[::1]:1"]);
        assert_eq!((url.stream.as_str(), url.replicas), ("log", 3));
        assert_eq!(url.ca, Some("/run/ca.pem".into()));
        let user = Credentials::User { name: "bus".into(), password: "p@ss".into() };
        assert!(url.credentials == user);
        let url: EventLogUrl = "nats://hidden@nats".parse().unwrap();
        assert_eq!((url.stream.as_str(), url.replicas), ("ev", 1));
        assert!(url.credentials == Credentials::Token("hidden".into()));
    }

    #[test]
    fn a_secret_is_not_shown() {
        for text in ["nats://hidden@nats/x", "nats://bus:hidden@nats/x?replicas=1"] {
            let url: EventLogUrl = text.parse().unwrap();
            assert_eq!(format!("{url} {url:?}"), "nats://nats:4222/x EventLogUrl(nats://nats:4222/x)");
        }
        for text in [
            "",
            "hidden",
            "http://hidden@nats",
            "nats://",
            "nats://hidden@",
            "nats://hidden@na ts",
            "nats://hidden%4@nats",
            "nats://hidden@nats:port",
            "nats://hidden@nats/a.b",
            "nats://hidden@nats?replicas=2",
            "nats://hidden@nats?ca=x",
            "nats://nats?password=hidden",
        ] {
            let error = text.parse::<EventLogUrl>().unwrap_err().to_string();
            assert!(!error.contains("hidden"), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_is_read_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("url");
        let location = EventLogLocation::File(path.clone());
        assert!(matches!(location.read(), Err(LocationError::File { .. })));
        for (text, shown) in [("nats://t@a\n", "nats://a:4222/ev"), ("nats://u@b", "nats://b:4222/ev")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(location.read().unwrap().to_string(), shown);
        }
        std::fs::write(&path, "hidden").unwrap();
        assert!(!location.read().unwrap_err().to_string().contains("hidden"));
    }
}
