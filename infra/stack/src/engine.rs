//! Where the services keep what they store: each in a file of its own, or all in a PostgreSQL server of the stack.

use crate::database::SERVICES;
use servers::Account;
use servers::postgres::Programs;
use std::path::{Path, PathBuf};

/// In the data folder: the server's own folder.
const SERVER: &str = "postgres";

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
    #[error("the data in {} is partly in PostgreSQL and partly in {file}, and neither engine can use both: choose another folder with --data-dir", .folder.display())]
    InBoth { folder: PathBuf, file: String },
}

impl Engine {
    /// Refuses what cannot work, before anything is created.
    pub fn check(self, data_dir: &Path, replicas: u8) -> Result<(), EngineError> {
        let in_postgres = folder(data_dir).exists();
        match (self, file_of_sqlite(data_dir)) {
            (Self::Sqlite, _) if replicas > 1 => Err(EngineError::OneWriter(replicas)),
            (Self::Postgres, _) if cfg!(not(feature = "postgres")) => Err(EngineError::NotBuilt),
            // Stacks had the log in a file once, beside the server.
            (_, Some(file)) if in_postgres => Err(EngineError::InBoth { folder: data_dir.to_owned(), file }),
            (Self::Sqlite, None) if in_postgres => Err(EngineError::InPostgres(data_dir.to_owned())),
            (Self::Postgres, Some(_)) => Err(EngineError::InFiles(data_dir.to_owned())),
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

/// A file of one of the services whose state is in PostgreSQL otherwise.
fn file_of_sqlite(data_dir: &Path) -> Option<String> {
    SERVICES.map(|service| format!("{service}.db")).into_iter().find(|file| data_dir.join(file).exists())
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
        std::fs::write(dir.path().join("event-bus.db"), "").unwrap();
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let both = check(engine, 1).unwrap_err();
            assert!(both.contains("in event-bus.db, and neither engine can use both"), "{both}");
        }
        std::fs::remove_dir(dir.path().join("postgres")).unwrap();
        for file in ["event-bus.db", "posts.db", "comments.db", "moderation.db"] {
            std::fs::write(dir.path().join(file), "").unwrap();
            assert_eq!(check(Engine::Sqlite, 1), Ok(()));
            let refused = check(Engine::Postgres, 1).unwrap_err();
            assert!(
                refused.contains("is in files of SQLite: start with --engine sqlite"),
                "{file}: {refused}"
            );
            std::fs::remove_file(dir.path().join(file)).unwrap();
        }
    }
}
