//! Settings of a service that publishes and consumes events.

use super::{CommonConfig, SecretParser, ServiceConfig, StoreConfig, base_url, base_urls};
use crate::app::StartError;
use crate::http::AllowedHosts;
use crate::runtime::secret::Secret;
use shared::ServiceName;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// The settings of a service that publishes and consumes events.
#[derive(clap::Args, Debug, Clone)]
pub struct PeerConfig {
    /// The settings of its store.
    #[command(flatten)]
    pub store: StoreConfig,
    /// Address of the event bus; those of its replicas, separated by commas.
    #[arg(long, env = "EVENT_BUS_URL", default_value = "http://127.0.0.1:4005", value_name = "URL")]
    pub event_bus_url: String,
    /// Where the event bus reaches this service [default: http:// and the listening address].
    #[arg(long, env = "ADVERTISE_URL", value_name = "URL")]
    pub advertise_url: Option<String>,
    /// Secret shared with the event bus; better set in the environment, as flags are visible to everybody.
    // `super::command` names the variable after the service.
    #[arg(long, env = "SECRET", hide_env_values = true, value_parser = SecretParser, value_name = "SECRET")]
    pub secret: Option<Secret>,
}

impl PeerConfig {
    /// The defaults of this service, without secrets and with this data directory: what a test starts from.
    pub fn insecure(name: ServiceName, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            store: StoreConfig::insecure(name, data_dir),
            event_bus_url: "http://127.0.0.1:4005".to_owned(),
            advertise_url: None,
            secret: None,
        }
    }

    /// Where the event bus reaches this service, without a slash at the end.
    pub fn advertised(&self) -> String {
        if let Some(url) = &self.advertise_url {
            return url.trim_end_matches('/').to_owned();
        }
        let mut address = self.store.common.listen;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        format!("http://{address}")
    }

    /// The hosts under which requests are accepted: the site's, and the one that the bus delivers to.
    pub fn hosts(&self) -> AllowedHosts {
        self.store.common.hosts().and(self.advertise_url.as_deref())
    }
}

impl ServiceConfig for PeerConfig {
    fn common(&self) -> &CommonConfig {
        &self.store.common
    }

    fn is_insecure(&self) -> bool {
        self.store.insecure
    }

    fn validate(&self, name: ServiceName) -> Result<(), StartError> {
        if self.secret.is_none() && !self.store.insecure {
            return Err(StartError::MissingSecret { flag: "--secret", env: secret_env(name) });
        }
        self.store.validate(name)?;
        // An address that no request can be sent to would look like a bus that is down.
        base_urls("EVENT_BUS_URL", &self.event_bus_url)?;
        self.advertise_url.as_deref().map_or(Ok(()), |url| base_url("ADVERTISE_URL", url).map(drop))
    }
}

/// The environment variable of a service's secret: `POSTS_SECRET`.
pub fn secret_env(name: ServiceName) -> String {
    format!("{}_SECRET", name.as_str().to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::super::{command, parse};
    use super::*;
    use crate::runtime::secret::WeakSecret;
    use std::ffi::OsString;

    const SECRET: &str = "0123456789abcdef";

    fn read(args: &[&str]) -> Result<PeerConfig, clap::Error> {
        parse(ServiceName::Posts, ["test"].iter().chain(args).map(OsString::from))
    }

    fn validated(args: &[&str]) -> Result<(), String> {
        read(args).unwrap().validate(ServiceName::Posts).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_one_machine() {
        let config = read(&[]).unwrap();
        assert_eq!(config.store.data_dir, PathBuf::from("./data"));
        assert_eq!(config.event_bus_url, "http://127.0.0.1:4005");
        let secrets = (&config.secret, &config.store.operator_token);
        assert!(matches!(secrets, (None, None)) && !config.store.insecure);
        let insecure = format!("{:?}", read(&["--insecure"]).unwrap());
        assert_eq!(insecure, format!("{:?}", PeerConfig::insecure(ServiceName::Posts, "./data")));
    }

    #[test]
    fn help_names_every_flag_with_its_default_and_variable() {
        let help = command::<PeerConfig>(ServiceName::Posts).render_help().to_string();
        for text in ["--listen", "LISTEN", "127.0.0.1:4000", "POSTS_SECRET", "INSECURE", "SITE_URL"] {
            assert!(help.contains(text), "{text} is not in {help}");
        }
        let help = command::<StoreConfig>(ServiceName::EventBus).render_help().to_string();
        assert!(!help.contains("--secret"), "the bus has one secret for each service: {help}");
    }

    #[test]
    fn without_secrets_only_if_insecure() {
        let both = ["--secret", SECRET, "--operator-token", SECRET];
        assert_eq!(validated(&both), Ok(()));
        assert_eq!(validated(&["--insecure"]), Ok(()));
        assert_eq!(
            validated(&[]).unwrap_err(),
            "--secret is missing: set POSTS_SECRET (at least 16 bytes), or start with --insecure to run without"
        );
        assert!(validated(&both[2..]).unwrap_err().contains("POSTS_SECRET"));
        assert!(validated(&both[..2]).unwrap_err().contains("OPERATOR_TOKEN"));
        let bus: StoreConfig = parse(ServiceName::EventBus, ["test".into()]).unwrap();
        assert!(bus.validate(ServiceName::EventBus).unwrap_err().to_string().contains("OPERATOR_TOKEN"));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let weak = "only-15-bytes-x";
        assert_eq!(Secret::new(weak).unwrap_err(), WeakSecret);
        assert!(Secret::new(format!("{SECRET}\n")).is_err(), "a line break comes from a careless file");
        let error = read(&["--secret", weak]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("at least 16 bytes"), "{error}");
        assert!(!error.to_string().contains(weak), "{error}");

        let config = read(&["--secret", SECRET]).unwrap();
        assert!(!format!("{config:?}").contains(SECRET));
        let secret = config.secret.unwrap();
        assert!(!secret.to_string().contains(SECRET));
        assert!(
            secret.matches(SECRET.as_bytes()) && !secret.matches(b"0123456789abcdeX") && !secret.matches(b"")
        );
    }

    #[test]
    fn addresses_that_no_request_can_be_sent_to_are_refused() {
        let with = |args: &[&str]| validated(&[&["--insecure"], args].concat());
        assert_eq!(
            with(&["--event-bus-url", "http://event-bus-srv:4005", "--advertise-url", "http://a"]),
            Ok(())
        );
        for (flag, setting) in [("--event-bus-url", "EVENT_BUS_URL"), ("--advertise-url", "ADVERTISE_URL")] {
            assert!(with(&[flag, "event-bus-srv:4005"]).unwrap_err().starts_with(setting));
        }
    }

    #[test]
    fn the_bus_gets_an_address_that_it_can_reach() {
        let advertised = |args: &[&str]| read(args).unwrap().advertised();
        assert_eq!(advertised(&[]), "http://127.0.0.1:4000");
        assert_eq!(advertised(&["--listen", "0.0.0.0:81"]), "http://127.0.0.1:81");
        assert_eq!(advertised(&["--listen", "[::1]:81"]), "http://[::1]:81");
        assert_eq!(
            advertised(&["--advertise-url", "http://posts-clusterip-srv:4000/"]),
            "http://posts-clusterip-srv:4000"
        );
    }

    #[test]
    fn deliveries_come_in_under_the_advertised_host() {
        let hosts = |args: &[&str]| read(args).unwrap().hosts().to_string();
        let advertise = ["--advertise-url", "http://posts.blog.svc:4000"];
        assert_eq!(hosts(&advertise), "any");
        assert_eq!(
            hosts(&[&advertise[..], &["--site-url", "http://posts.com"]].concat()),
            "posts.blog.svc, posts.com"
        );
    }
}
