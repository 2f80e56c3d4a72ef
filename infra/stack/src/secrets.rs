//! The secrets of this machine's stack: generated at the first start, stored in the data folder.

use crate::files;
use kit::app::config::secret_env;
use kit::runtime::deps::Ids;
use kit::runtime::secret::MIN_SECRET_BYTES;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// In the data folder.
pub const FILE_NAME: &str = "secrets.env";
pub const OPERATOR_TOKEN: &str = "OPERATOR_TOKEN";

#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: line {line} is not NAME=value", .path.display())]
    Line {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    #[error("{}: {name} has fewer than {MIN_SECRET_BYTES} bytes; delete its line to get a new one", .path.display())]
    Short { path: PathBuf, name: String },
}

/// Secrets by name. `Debug` shows the names alone.
pub struct Secrets(BTreeMap<String, String>);

/// What `Secrets::open` changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub generated: Vec<String>,
    /// Others could read the file until now.
    pub was_public: bool,
}

/// Every name in the file.
pub fn names() -> Vec<String> {
    ServiceName::PEERS.into_iter().map(secret_env).chain([OPERATOR_TOKEN.to_owned()]).collect()
}

/// Reads the file without changing it.
pub fn read(data_dir: &Path) -> Result<Secrets, SecretsError> {
    let path = data_dir.join(FILE_NAME);
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|source| SecretsError::Io { path: path.clone(), source })?;
    parse(&path, &text).map(Secrets)
}

impl Secrets {
    /// Reads the file, generates missing secrets, and takes the permissions of others.
    pub fn open(data_dir: &Path, ids: &dyn Ids) -> Result<(Self, Opened), SecretsError> {
        let path = data_dir.join(FILE_NAME);
        let io = |source| SecretsError::Io { path: path.clone(), source };
        let mut opened = Opened::default();
        let mut text = match std::fs::read_to_string(&path) {
            Ok(text) => {
                opened.was_public = files::make_private(&path).map_err(io)?;
                text
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(io(e)),
        };
        let mut found = parse(&path, &text)?;
        for name in names().into_iter().filter(|name| !found.contains_key(name)).collect::<Vec<_>>() {
            let value = format!("{:032x}{:032x}", ids.random(), ids.random());
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}={value}");
            found.insert(name.clone(), value);
            opened.generated.push(name);
        }
        if !opened.generated.is_empty() {
            files::replace(&path, text.as_bytes()).map_err(io)?;
        }
        if let Some(name) =
            names().into_iter().find(|n| found.get(n).is_none_or(|v| v.len() < MIN_SECRET_BYTES))
        {
            return Err(SecretsError::Short { path, name });
        }
        Ok((Self(found), opened))
    }

    /// Empty if there is no secret of this name.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn parse(path: &Path, text: &str) -> Result<BTreeMap<String, String>, SecretsError> {
    let mut found = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| SecretsError::Line { path: path.to_owned(), line: at + 1 })?;
        found.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::runtime::deps::SystemIds;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_start_makes_them_and_the_second_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let (first, opened) = Secrets::open(dir.path(), &SystemIds).unwrap();
        assert_eq!(opened.generated, names());
        let path = dir.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 5);
        assert!(text.contains("POSTS_SECRET=") && text.contains("OPERATOR_TOKEN="));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let (second, opened) = Secrets::open(dir.path(), &SystemIds).unwrap();
        assert_eq!(opened, Opened::default());
        for name in names() {
            assert_eq!(first.get(&name).len(), 64);
            assert_eq!(first.get(&name), second.get(&name));
        }
        let all: std::collections::HashSet<_> = names().iter().map(|n| first.get(n).to_owned()).collect();
        assert_eq!(all.len(), 5, "no two are alike");
    }

    #[test]
    fn a_missing_name_is_added_and_the_rest_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, "# mine\nPOSTS_SECRET=0123456789abcdef\nEXTRA=kept").unwrap();
        let (secrets, opened) = Secrets::open(dir.path(), &SystemIds).unwrap();
        assert_eq!(secrets.get("POSTS_SECRET"), "0123456789abcdef");
        assert!(!opened.generated.contains(&"POSTS_SECRET".to_owned()));
        assert_eq!(opened.generated.len(), 4);
        assert!(opened.was_public);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# mine\nPOSTS_SECRET=0123456789abcdef\nEXTRA=kept\nCOMMENTS_SECRET="));
    }

    #[test]
    fn what_is_no_secret_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, "QUERY_SECRET=short\n").unwrap();
        let error = Secrets::open(dir.path(), &SystemIds).unwrap_err().to_string();
        assert!(error.contains("QUERY_SECRET has fewer than 16 bytes"), "{error}");
        std::fs::write(&path, "POSTS_SECRET=0123456789abcdef\nnonsense\n").unwrap();
        let error = Secrets::open(dir.path(), &SystemIds).unwrap_err().to_string();
        assert!(error.contains("line 2 is not NAME=value"), "{error}");
        assert!(!error.contains("nonsense"), "a broken line may hold a secret");
    }

    #[test]
    fn printing_them_shows_no_value() {
        let dir = tempfile::tempdir().unwrap();
        let (secrets, _) = Secrets::open(dir.path(), &SystemIds).unwrap();
        let printed = format!("{secrets:?}");
        assert!(printed.contains("POSTS_SECRET") && !printed.contains(secrets.get("POSTS_SECRET")));
    }
}
