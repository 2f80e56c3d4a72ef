//! Settings of a service that stores data.

use super::{CommonConfig, SecretParser, ServiceConfig};
use crate::app::StartError;
use crate::runtime::secret::Secret;
use crate::store::{self, DatabaseLocation, DatabaseUrl, DiskFloor, NoDatabaseUrl};
use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::ErrorKind;
use shared::ServiceName;
use std::ffi::OsStr;
use std::path::PathBuf;

/// Reads the URL of a database: clap's own parsers would repeat a refused value, and with it a password, in the error.
#[derive(Debug, Clone, Copy)]
struct DatabaseUrlParser;

impl TypedValueParser for DatabaseUrlParser {
    type Value = DatabaseUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<DatabaseUrl, clap::Error> {
        value.to_str().unwrap_or_default().parse().map_err(|error: NoDatabaseUrl| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--database-url: {error}\n"))
                .with_cmd(command)
        })
    }
}

/// The settings of a service that stores data, and so has routes that only its operator may use.
#[derive(clap::Args, Debug, Clone)]
pub struct StoreConfig {
    /// The settings that every process has.
    #[command(flatten)]
    pub common: CommonConfig,
    /// Directory that holds the service's data; created if missing.
    #[arg(long, env = "DATA_DIR", default_value = "./data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Free disk space, in MiB, below which writes are refused; 0 for none.
    #[arg(long, env = "DISK_FLOOR_MIB", default_value_t = DiskFloor::default(), value_name = "MIB")]
    pub disk_floor_mib: DiskFloor,
    /// Database that holds the service's data in place of a file: postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = DatabaseUrlParser, value_name = "URL",
        conflicts_with = "database_url_file")]
    pub database_url: Option<DatabaseUrl>,
    /// File that holds that URL; read again before each connection.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// Token that the operator's routes require.
    #[arg(long, env = "OPERATOR_TOKEN", hide_env_values = true, value_parser = SecretParser, value_name = "TOKEN")]
    pub operator_token: Option<Secret>,
    /// Run without secrets: anybody may publish and operate.
    #[arg(long, env = "INSECURE", value_parser = BoolishValueParser::new())]
    pub insecure: bool,
}

impl StoreConfig {
    /// The defaults of this service, without secrets and with this data directory: what a test starts from.
    pub fn insecure(name: ServiceName, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            common: CommonConfig::new(name),
            data_dir: data_dir.into(),
            disk_floor_mib: DiskFloor::default(),
            database_url: None,
            database_url_file: None,
            operator_token: None,
            insecure: true,
        }
    }
}

impl StoreConfig {
    /// The database, if the data is not in a file of its own.
    pub fn database(&self) -> Option<DatabaseLocation> {
        let file = self.database_url_file.clone().map(DatabaseLocation::File);
        self.database_url.clone().map(DatabaseLocation::Url).or(file)
    }

    /// How the store is run.
    pub fn options(&self) -> store::Options {
        store::Options { disk_floor: self.disk_floor_mib, ..store::Options::default() }
    }
}

impl ServiceConfig for StoreConfig {
    fn common(&self) -> &CommonConfig {
        &self.common
    }

    fn is_insecure(&self) -> bool {
        self.insecure
    }

    fn validate(&self, _: ServiceName) -> Result<(), StartError> {
        if self.insecure || self.operator_token.is_some() {
            return Ok(());
        }
        Err(StartError::MissingSecret { flag: "--operator-token", env: "OPERATOR_TOKEN".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{command, parse};
    use super::*;
    use std::ffi::OsString;

    fn read(args: &[&str]) -> Result<StoreConfig, clap::Error> {
        parse(ServiceName::Posts, ["test"].iter().chain(args).map(OsString::from))
    }

    #[test]
    fn a_database_is_named_by_its_url_or_by_a_file_with_it() {
        assert_eq!(read(&[]).unwrap().database(), None);
        let url = read(&["--database-url", "postgres://u:hidden@db/posts"]).unwrap();
        assert!(
            matches!(url.database(), Some(DatabaseLocation::Url(url)) if url.to_string() == "postgres://u@db/posts")
        );
        assert!(!format!("{url:?}").contains("hidden"));
        let file = read(&["--database-url-file", "/run/url"]).unwrap();
        assert_eq!(file.database(), Some(DatabaseLocation::File("/run/url".into())));
        for bad in [
            &["--database-url", "mysql://u:hidden@db/posts"][..],
            &["--database-url", "postgres://u:hidden@db/posts", "--database-url-file", "/run/url"],
        ] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
        assert!(!command::<StoreConfig>(ServiceName::Posts).render_help().to_string().contains("hidden"));
    }
}
