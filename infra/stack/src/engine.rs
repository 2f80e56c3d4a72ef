//! Where the services keep what they store: each in a file of its own, or all in a PostgreSQL server of the stack.

use servers::Account;
use servers::postgres::Programs;
use std::path::{Path, PathBuf};

/// In the data folder: the server's own folder.
const SERVER: &str = "postgres";
/// A file that every stack on SQLite has.
const FILE_OF_SQLITE: &str = "posts.db";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// A file for each service
    #[default]
    Sqlite,
    /// A PostgreSQL server that the stack starts, with a database for each service
    Postgres,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("--replicas {0} needs --engine postgres: a file of SQLite has one writer")]
    OneWriter(u8),
    #[error("this program was built without PostgreSQL (feature `postgres`)")]
    NotBuilt,
    #[error("the data in {} is in PostgreSQL: start with --engine postgres, or choose another folder with --data-dir", .0.display())]
    InPostgres(PathBuf),
    #[error("the data in {} is in files of SQLite: start with --engine sqlite, or choose another folder with --data-dir", .0.display())]
    InFiles(PathBuf),
}

impl Engine {
    /// Refuses what cannot work, before anything is created.
    pub fn check(self, data_dir: &Path, replicas: u8) -> Result<(), EngineError> {
        match self {
            Self::Sqlite if replicas > 1 => Err(EngineError::OneWriter(replicas)),
            Self::Sqlite if folder(data_dir).exists() => Err(EngineError::InPostgres(data_dir.to_owned())),
            Self::Postgres if cfg!(not(feature = "postgres")) => Err(EngineError::NotBuilt),
            Self::Postgres if data_dir.join(FILE_OF_SQLITE).exists() => {
                Err(EngineError::InFiles(data_dir.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// What is not installed, and what installs it.
    pub fn check_installed(self, data_dir: &Path) -> Result<(), servers::Error> {
        if self == Self::Postgres {
            Programs::find(&folder(data_dir).join("data"))?;
            Account::for_postgres()?;
        }
        Ok(())
    }
}

/// The server's folder in the data folder.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(SERVER)
}

/// What the server logs.
pub fn log(data_dir: &Path) -> PathBuf {
    folder(data_dir).join("postgres.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_other_engine_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let check = |engine: Engine, replicas| engine.check(dir.path(), replicas).map_err(|e| e.to_string());
        assert_eq!(check(Engine::Sqlite, 1), Ok(()));
        assert_eq!(check(Engine::Postgres, 2), Ok(()));
        assert!(check(Engine::Sqlite, 2).unwrap_err().starts_with("--replicas 2 needs --engine postgres"));
        std::fs::create_dir(dir.path().join("postgres")).unwrap();
        assert!(
            check(Engine::Sqlite, 1).unwrap_err().contains("is in PostgreSQL: start with --engine postgres")
        );
        std::fs::write(dir.path().join("posts.db"), "").unwrap();
        assert!(check(Engine::Postgres, 1).unwrap_err().contains("is in files of SQLite"));
    }
}
