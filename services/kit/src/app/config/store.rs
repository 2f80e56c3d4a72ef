//! Settings of a service that stores data.

use super::{CommonConfig, SecretParser, ServiceConfig};
use crate::app::StartError;
use crate::runtime::secret::Secret;
use crate::store::{self, DiskFloor};
use clap::builder::BoolishValueParser;
use shared::ServiceName;
use std::path::PathBuf;

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
            operator_token: None,
            insecure: true,
        }
    }
}

impl StoreConfig {
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
