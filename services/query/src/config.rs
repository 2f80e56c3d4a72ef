//! The settings of query.

use kit::app::StartError;
use kit::app::config::{CommonConfig, PeerConfig, ServiceConfig};
use shared::ServiceName;
use shared::bus::is_instance_name;

/// The settings of query.
#[derive(clap::Args, Debug, Clone)]
pub struct Config {
    /// The settings of every peer of the bus.
    #[command(flatten)]
    pub peer: PeerConfig,
    /// Name of this replica, where there are several: each has a read model of its own [default: it is the only one].
    #[arg(long, env = "INSTANCE", value_parser = parse_instance, value_name = "NAME")]
    pub instance: Option<String>,
}

impl From<PeerConfig> for Config {
    /// The only replica.
    fn from(peer: PeerConfig) -> Self {
        Self { peer, instance: None }
    }
}

impl ServiceConfig for Config {
    fn common(&self) -> &CommonConfig {
        self.peer.common()
    }

    fn is_insecure(&self) -> bool {
        self.peer.is_insecure()
    }

    fn validate(&self, name: ServiceName) -> Result<(), StartError> {
        self.peer.validate(name)
    }
}

fn parse_instance(text: &str) -> Result<String, String> {
    if is_instance_name(text) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 63 characters out of a-z, 0-9 and '-'".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::app::config::parse;
    use std::ffi::OsString;

    #[test]
    fn a_replica_has_a_name_that_the_bus_accepts() {
        let read = |args: &[&str]| {
            let args = ["query", "--insecure"].iter().chain(args).map(OsString::from);
            parse::<Config>(ServiceName::Query, args)
        };
        assert_eq!(read(&[]).unwrap().instance, None);
        let longest = "x".repeat(63);
        for good in ["1", "query-0", &longest] {
            assert_eq!(read(&["--instance", good]).unwrap().instance.as_deref(), Some(good));
        }
        for bad in ["", "a/b", "Query", "a b", "ä", &"x".repeat(64)] {
            let error = read(&["--instance", bad]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
            assert!(error.to_string().contains("1 to 63 characters"), "{error}");
        }
    }
}
