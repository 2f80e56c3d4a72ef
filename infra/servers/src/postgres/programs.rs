//! The programs of PostgreSQL, which Debian keeps out of `PATH`.

use crate::{Error, at};
use std::cmp::Reverse;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Debian's packages of several versions.
const DEBIAN: &str = "/usr/lib/postgresql";
const WANTED: [&str; 3] = ["postgres", "initdb", "psql"];
/// Its end of life is near enough; nobody tests with an older one.
const OLDEST: u32 = 14;

/// The folder that holds them, and their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    folder: PathBuf,
    major: u32,
}

impl Programs {
    /// Those of the version that wrote these files; for new ones those in `PATH`, else the newest.
    pub fn find(data: &Path) -> Result<Self, Error> {
        let written_by = written_by(data)?;
        let found = installed();
        let fits = |p: &&Self| written_by.map_or(p.major >= OLDEST, |major| p.major == major);
        if let Some(programs) = found.iter().find(fits) {
            return Ok(programs.clone());
        }
        let versions: Vec<_> = found.iter().map(|p| p.major.to_string()).collect();
        let versions = versions.join(", ");
        Err(Error::Missing(match (written_by, found.is_empty()) {
            (None, true) => {
                "PostgreSQL is not installed: run `sudo apt-get install postgresql`, or use your package manager".to_owned()
            }
            (None, false) => {
                format!("PostgreSQL {OLDEST} or newer is needed, installed is {versions}: run `sudo apt-get install postgresql`")
            }
            (Some(major), _) => format!(
                "{} was written by PostgreSQL {major}, which is not installed{}: run `sudo apt-get install \
                 postgresql-{major}`, or convert the files with pg_upgrade",
                data.display(),
                if versions.is_empty() { String::new() } else { format!(" (installed: {versions})") }
            ),
        }))
    }

    pub fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub fn psql(&self) -> PathBuf {
        self.folder.join("psql")
    }

    /// For what else the packages bring: `pg_basebackup`, `pgbench`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        // A link in /usr/local/bin leads to the folder that has them all.
        let folder = fs::canonicalize(folder.join("postgres")).ok()?.parent()?.to_owned();
        if !WANTED.iter().all(|name| folder.join(name).is_file()) {
            return None;
        }
        let output = std::process::Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let major = major(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { folder, major })
    }
}

/// All that are installed, those in `PATH` first, then Debian's from the newest to the oldest.
fn installed() -> Vec<Programs> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<Programs> =
        env::split_paths(&path).filter_map(|dir| Programs::in_folder(&dir)).collect();
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().filter_map(Result::ok);
    let mut debian: Vec<_> =
        versions.filter_map(|version| Programs::in_folder(&version.path().join("bin"))).collect();
    debian.sort_by_key(|programs| Reverse(programs.major));
    found.extend(debian);
    found
}

/// The version of existing files.
fn written_by(data: &Path) -> Result<Option<u32>, Error> {
    let file = data.join("PG_VERSION");
    match fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(at(file)(io::Error::new(io::ErrorKind::InvalidData, "no version of PostgreSQL"))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        // The files belong to another user.
        Err(e) => Err(at(file)(e)),
    }
}

/// `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`; a test version is `17beta1`.
fn major(printed: &str) -> Option<u32> {
    let version = printed.split_whitespace().nth(2)?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        assert_eq!(major("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("x"), None);
    }

    #[test]
    fn files_of_another_version_name_the_package_that_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("PG_VERSION"), "9\n").unwrap();
        let error = Programs::find(folder.path()).unwrap_err().to_string();
        assert!(error.contains("by PostgreSQL 9,") && error.contains("install postgresql-9`"), "{error}");
    }
}
