//! Where a service keeps its state, if not in a file of its own: the URL of a database.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// `postgres://user:password@host:port/database?…`. It holds a password, which neither `Debug` nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

/// Why a text is not accepted as the URL of a database; the error does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL of the database must begin with postgres:// or postgresql://")]
pub struct NoDatabaseUrl;

impl FromStr for DatabaseUrl {
    type Err = NoDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let fits = text
            .split_once("://")
            .is_some_and(|(scheme, rest)| matches!(scheme, "postgres" | "postgresql") && !rest.is_empty());
        if fits { Ok(Self(text.to_owned())) } else { Err(NoDatabaseUrl) }
    }
}

impl DatabaseUrl {
    /// The whole text, with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return Ok(()) };
        // A parameter may be a password as well, and a password may hold what ends it.
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, place) =
            place.rsplit_once('@').map_or((None, place), |(c, place)| (Some(c), place));
        let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
        let hosts = place.split('/').next().unwrap_or_default();
        let is_place =
            hosts.split(',').all(|host| host.rsplit_once(':').is_none_or(|(_, port)| is_port(port)));
        write!(f, "{scheme}://")?;
        if !is_place || (credentials.is_none() && parameters.contains('@')) {
            return f.write_str("…");
        }
        if let Some(user) = credentials.and_then(|c| c.split(':').next()) {
            write!(f, "{user}@")?;
        }
        f.write_str(place)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Where the URL of the database is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseLocation {
    /// In the settings.
    Url(DatabaseUrl),
    /// In a file, which is read before each connection: whoever changes the password replaces it.
    File(PathBuf),
}

/// Why the URL of the database is not known.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// The file with it cannot be read.
    #[error("cannot read {}, the file with the URL of the database: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NoDatabaseUrl,
    },
}

impl DatabaseLocation {
    /// The URL, as of now.
    pub fn read(&self) -> Result<DatabaseUrl, LocationError> {
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
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("postgres://blog:hidden@db:5432/posts?sslmode=require", "postgres://blog@db:5432/posts"),
            ("postgresql://db/posts?user=blog&password=hidden", "postgresql://db/posts"),
            ("postgres://:hidden@db", "postgres://@db"),
            ("postgres://u:hid@hidden@[::1]:1,b:2/x", "postgres://u@[::1]:1,b:2/x"),
            ("postgres://u:hid?hidden@db/x", "postgres://…"),
            ("postgres://u:hidden", "postgres://…"),
        ] {
            let url: DatabaseUrl = format!(" {url}\n").parse().unwrap();
            assert_eq!(
                (url.to_string(), format!("{url:?}")),
                (shown.to_owned(), format!("DatabaseUrl({shown})"))
            );
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_repeated() {
        for text in ["", "hidden", "mysql://hidden@db", "postgres://", "/hidden/posts.db"] {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_file_is_read_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("url");
        let location = DatabaseLocation::File(path.clone());
        assert!(matches!(location.read(), Err(LocationError::File { .. })));
        for url in ["postgres://a@db/x", "postgres://b@db/x"] {
            std::fs::write(&path, format!("{url}\n")).unwrap();
            assert_eq!(location.read().unwrap().to_string(), url);
        }
        std::fs::write(&path, "hidden").unwrap();
        let error = location.read().unwrap_err().to_string();
        assert!(error.contains("postgres://") && !error.contains("hidden"), "{error}");
    }
}
