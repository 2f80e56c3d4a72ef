//! Settings: flags, with an environment variable for each.
//!
//! [`CommonConfig`] is what every process has. [`StoreConfig`] adds what a service that stores data has, and
//! [`PeerConfig`] adds the connection to the event bus. A service flattens the one that fits into its own settings.

mod parsers;
mod peer;
mod store;

pub use parsers::{SecretParser, base_url, base_urls};
pub use peer::{PeerConfig, secret_env};
pub use store::StoreConfig;

use crate::app::StartError;
use crate::http::{AllowedHosts, HostName, RateLimits, SiteUrl, TrustedProxies};
use shared::ServiceName;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The settings that every process has.
#[derive(clap::Args, Debug, Clone)]
pub struct CommonConfig {
    /// Address to listen on.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// How log lines look [default: text on a terminal, else json].
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Public address of the site: requests for other hosts are refused, and with https cookies are secure.
    #[arg(long, env = "SITE_URL", value_name = "URL")]
    pub site_url: Option<SiteUrl>,
    /// More host names under which requests are accepted, separated by commas.
    #[arg(long, env = "ALLOWED_HOSTS", value_delimiter = ',', value_name = "HOST")]
    pub allowed_hosts: Vec<HostName>,
    /// Number of proxies in front of this process that add to X-Forwarded-For.
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "0", value_name = "NUMBER")]
    pub trusted_proxies: TrustedProxies,
    /// Whether one client is kept from taking what is meant for all; off for benchmarks and load tests.
    #[arg(long, env = "RATE_LIMITS", value_enum, default_value_t, value_name = "WHETHER")]
    pub rate_limits: RateLimits,
}

impl CommonConfig {
    /// The defaults of this service: what a test starts from.
    pub fn new(name: ServiceName) -> Self {
        Self {
            listen: default_listen(name),
            log_format: None,
            site_url: None,
            allowed_hosts: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            rate_limits: RateLimits::default(),
        }
    }

    /// The hosts under which requests are accepted; all of them where nothing is configured.
    pub fn hosts(&self) -> AllowedHosts {
        AllowedHosts::new(self.site_url.iter().map(SiteUrl::host).chain(&self.allowed_hosts))
    }

    /// Whether readers reach the site over https.
    pub fn is_https(&self) -> bool {
        self.site_url.as_ref().is_some_and(SiteUrl::is_https)
    }
}

/// A service's settings, with [`CommonConfig`] among them.
pub trait ServiceConfig: clap::Args {
    /// The settings that every process has.
    fn common(&self) -> &CommonConfig;

    /// Where probes and metrics listen, if not beside the service's own routes.
    fn admin_listen(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether the service runs without secrets.
    fn is_insecure(&self) -> bool {
        false
    }

    /// Checks what no single value shows: missing secrets, addresses that no request can be sent to.
    fn validate(&self, _name: ServiceName) -> Result<(), StartError> {
        Ok(())
    }
}

impl ServiceConfig for CommonConfig {
    fn common(&self) -> &CommonConfig {
        self
    }
}

fn default_listen(name: ServiceName) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, name.default_port()))
}

/// Reads a service's settings from its arguments (the first is the program's name) and the environment.
pub fn parse<C: clap::Args>(
    name: ServiceName,
    args: impl IntoIterator<Item = OsString>,
) -> Result<C, clap::Error> {
    let command = command::<C>(name);
    C::from_arg_matches(&command.try_get_matches_from(args)?)
}

/// The command line of a service: every setting with its flag and its environment variable.
pub fn command<C: clap::Args>(name: ServiceName) -> clap::Command {
    let command = clap::Command::new(name.as_str()).version(env!("CARGO_PKG_VERSION"));
    // The comment on the settings, which clap would show, is for programmers.
    let command = C::augment_args(command).about(name.purpose()).long_about(None);
    command.mut_args(|arg| match arg.get_id().as_str() {
        "listen" => arg.default_value(default_listen(name).to_string()),
        "secret" => unset_if_empty(arg.env(secret_env(name))),
        _ => unset_if_empty(arg),
    })
}

/// An empty variable counts as none: manifests and compose files cannot leave one out.
fn unset_if_empty(arg: clap::Arg) -> clap::Arg {
    let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if empty { arg.env(None::<&str>) } else { arg }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_own_address() {
        for name in ServiceName::ALL {
            let config: CommonConfig = parse(name, ["test".into()]).unwrap();
            assert_eq!(config.listen, default_listen(name));
            assert_eq!(format!("{config:?}"), format!("{:?}", CommonConfig::new(name)));
        }
    }

    #[test]
    fn help_begins_with_what_the_service_is_for() {
        for name in ServiceName::ALL {
            let mut command = command::<CommonConfig>(name);
            for help in [command.render_help(), command.render_long_help()] {
                let help = help.to_string();
                assert_eq!(help.lines().next(), Some(name.purpose()), "{help}");
            }
        }
    }

    #[test]
    fn the_site_and_its_hosts_are_read() {
        let read = |args: &[&str]| {
            let args = ["test"].iter().chain(args).map(OsString::from);
            parse::<CommonConfig>(ServiceName::Frontend, args)
        };
        let config = read(&["--site-url", "https://blog.example", "--allowed-hosts", "a.example,b.example"]);
        let config = config.unwrap();
        assert!(config.is_https());
        assert_eq!(config.hosts().to_string(), "a.example, b.example, blog.example");
        assert!(!read(&["--site-url", "http://posts.com"]).unwrap().is_https());
        for bad in [
            ["--site-url", "blog.example"],
            ["--site-url", "ftp://blog.example"],
            ["--allowed-hosts", "http://a.example"],
            ["--trusted-proxies", "-1"],
        ] {
            assert_eq!(read(&bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }
}
