//! The settings that every service has: flags, with an environment variable for each.

use crate::app::StartError;
use crate::runtime::secret::Secret;
use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::ErrorKind;
use reqwest::Url;
use shared::ServiceName;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Reads a [`Secret`] from a flag or a variable: clap's own parsers would repeat a refused value in the error.
#[derive(Debug, Clone, Copy)]
pub struct SecretParser;

impl TypedValueParser for SecretParser {
    type Value = Secret;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Secret, clap::Error> {
        let text = value.to_str().unwrap_or_default();
        Secret::new(text).map_err(|weak| {
            let name = arg.and_then(clap::Arg::get_long).unwrap_or("secret");
            clap::Error::raw(ErrorKind::ValueValidation, format!("--{name}: {weak}\n")).with_cmd(command)
        })
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The settings that every service has. A service flattens them into its own.
#[derive(clap::Args, Debug, Clone)]
pub struct CommonConfig {
    /// Address to listen on.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Directory that holds the service's data; made if missing.
    #[arg(long, env = "DATA_DIR", default_value = "./data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where the event bus is.
    #[arg(long, env = "EVENT_BUS_URL", default_value = "http://127.0.0.1:4005", value_name = "URL")]
    pub event_bus_url: String,
    /// Where the event bus reaches this service [default: http:// and the listening address].
    #[arg(long, env = "ADVERTISE_URL", value_name = "URL")]
    pub advertise_url: Option<String>,
    /// Secret shared with the event bus; better given by the environment, as flags are seen by everybody.
    #[arg(long, env = "SECRET", hide_env_values = true, value_parser = SecretParser, value_name = "SECRET")]
    pub secret: Option<Secret>,
    /// Token that the operator's routes ask for.
    #[arg(long, env = "OPERATOR_TOKEN", hide_env_values = true, value_parser = SecretParser, value_name = "TOKEN")]
    pub operator_token: Option<Secret>,
    /// Run without secrets: anybody may publish and operate.
    #[arg(long, env = "INSECURE", value_parser = BoolishValueParser::new())]
    pub insecure: bool,
    /// How log lines look [default: text on a terminal, else json].
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// A service's settings: its own, with the common ones among them.
pub trait ServiceConfig: clap::Args {
    /// The common ones.
    fn common(&self) -> &CommonConfig;

    /// Where probes and metrics listen, if not beside the service's own routes.
    fn admin_listen(&self) -> Option<SocketAddr> {
        None
    }
}

impl ServiceConfig for CommonConfig {
    fn common(&self) -> &CommonConfig {
        self
    }
}

impl CommonConfig {
    /// The defaults of this service, insecure and with its data there: what a test starts from.
    pub fn insecure(name: ServiceName, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: default_listen(name),
            data_dir: data_dir.into(),
            event_bus_url: "http://127.0.0.1:4005".to_owned(),
            advertise_url: None,
            secret: None,
            operator_token: None,
            insecure: true,
            log_format: None,
        }
    }

    /// Refuses to go on without the secrets that this service needs, unless told to.
    pub fn validate_secrets(&self, name: ServiceName) -> Result<(), StartError> {
        let missing = |flag, env| Err(StartError::MissingSecret { flag, env });
        if self.insecure {
            Ok(())
        } else if self.secret.is_none() && ServiceName::PEERS.contains(&name) {
            missing("--secret", secret_env(name))
        } else if self.operator_token.is_none() && name != ServiceName::Frontend {
            missing("--operator-token", "OPERATOR_TOKEN".to_owned())
        } else {
            Ok(())
        }
    }

    /// Refuses to go on with an address that no request can ever be sent to: that would look like a bus that is down.
    pub fn validate_urls(&self) -> Result<(), StartError> {
        base_url("EVENT_BUS_URL", &self.event_bus_url)?;
        self.advertise_url.as_deref().map_or(Ok(()), |url| base_url("ADVERTISE_URL", url).map(drop))
    }

    /// Where the event bus reaches this service, without a slash at the end.
    pub fn advertised(&self) -> String {
        if let Some(url) = &self.advertise_url {
            return url.trim_end_matches('/').to_owned();
        }
        let mut address = self.listen;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        format!("http://{address}")
    }
}

/// Where a service is: `http`, a host, perhaps a port and a path to begin with; gives it back without a slash at its end.
///
/// `setting` is what the error names: no TLS is compiled, and a name without `http://` is an easy slip.
pub fn base_url(setting: &str, text: &str) -> Result<String, StartError> {
    let url =
        Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.has_host() && url.query().is_none());
    match url {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err(StartError::Config(format!("{setting} must be http://HOST:PORT; it is {text:?}"))),
    }
}

/// The environment variable of a service's secret: `POSTS_SECRET`.
pub fn secret_env(name: ServiceName) -> String {
    format!("{}_SECRET", name.as_str().to_uppercase().replace('-', "_"))
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
        // Only those that publish or consume share a secret with the bus.
        "secret" if ServiceName::PEERS.contains(&name) => unset_if_empty(arg.env(secret_env(name))),
        "secret" => arg.env(None::<&str>).hide(true),
        // The frontend keeps nothing and takes no part in the events.
        "data_dir" | "event_bus_url" | "advertise_url" | "operator_token" | "insecure"
            if name == ServiceName::Frontend =>
        {
            unset_if_empty(arg.hide(true))
        }
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
    use crate::runtime::secret::WeakSecret;

    const SECRET: &str = "0123456789abcdef";

    fn read(name: ServiceName, args: &[&str]) -> Result<CommonConfig, clap::Error> {
        let args = ["test"].iter().chain(args).map(OsString::from);
        parse(name, args)
    }

    #[test]
    fn every_service_has_its_own_defaults() {
        for name in ServiceName::ALL {
            let config = read(name, &[]).unwrap();
            assert_eq!(config.listen, default_listen(name));
            assert_eq!(config.data_dir, PathBuf::from("./data"));
            assert_eq!(config.event_bus_url, "http://127.0.0.1:4005");
            assert!(config.secret.is_none() && config.operator_token.is_none() && !config.insecure);
            let same = CommonConfig::insecure(name, "./data");
            assert_eq!(format!("{same:?}"), format!("{:?}", CommonConfig { insecure: true, ..config }));
        }
    }

    #[test]
    fn help_names_every_flag_with_its_default_and_variable() {
        let help = command::<CommonConfig>(ServiceName::EventBus).render_help().to_string();
        assert!(
            help.contains("--listen") && help.contains("LISTEN") && help.contains("127.0.0.1:4005"),
            "{help}"
        );
        assert!(!help.contains("--secret"), "the bus has one secret for each service: {help}");
        let help = command::<CommonConfig>(ServiceName::Posts).render_help().to_string();
        assert!(help.contains("POSTS_SECRET") && help.contains("INSECURE"), "{help}");
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
    fn without_secrets_only_if_insecure() {
        let demand =
            |name, args: &[&str]| read(name, args).unwrap().validate_secrets(name).map_err(|e| e.to_string());
        let both = ["--secret", SECRET, "--operator-token", SECRET];
        assert_eq!(demand(ServiceName::Posts, &both), Ok(()));
        assert_eq!(demand(ServiceName::Posts, &["--insecure"]), Ok(()));
        assert_eq!(demand(ServiceName::Frontend, &[]), Ok(()));
        assert_eq!(
            demand(ServiceName::Posts, &[]).unwrap_err(),
            "--secret is missing: set POSTS_SECRET (at least 16 bytes), or start with --insecure to run without"
        );
        let token_only = demand(ServiceName::Posts, &["--operator-token", SECRET]).unwrap_err();
        assert!(token_only.contains("POSTS_SECRET"), "{token_only}");
        for name in [ServiceName::Posts, ServiceName::EventBus] {
            let args = if name == ServiceName::Posts { &both[..2] } else { &[] };
            assert!(demand(name, args).unwrap_err().contains("OPERATOR_TOKEN"));
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let weak = "only-15-bytes-x";
        assert_eq!(Secret::new(weak).unwrap_err(), WeakSecret);
        assert!(Secret::new(format!("{SECRET}\n")).is_err(), "a line break comes from a careless file");
        let error = read(ServiceName::Posts, &["--secret", weak]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("at least 16 bytes"), "{error}");
        assert!(!error.to_string().contains(weak), "{error}");

        let config = read(ServiceName::Posts, &["--secret", SECRET]).unwrap();
        assert!(!format!("{config:?}").contains(SECRET));
        let secret = config.secret.unwrap();
        assert!(!secret.to_string().contains(SECRET));
        assert!(
            secret.matches(SECRET.as_bytes()) && !secret.matches(b"0123456789abcdeX") && !secret.matches(b"")
        );
    }

    #[test]
    fn only_plain_http_leads_to_a_service() {
        for good in ["http://127.0.0.1:4000", "http://posts-clusterip-srv:4000", "http://[::1]:4000"] {
            assert_eq!(base_url("POSTS_URL", good).unwrap(), good);
        }
        assert_eq!(base_url("POSTS_URL", "http://a/").unwrap(), "http://a");
        for bad in ["", "127.0.0.1:4000", "https://a", "file:///etc/passwd", "http://", "http://a?b"] {
            let error = base_url("POSTS_URL", bad).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
            assert_eq!(error.to_string(), format!("POSTS_URL must be http://HOST:PORT; it is {bad:?}"));
        }
        let demand = |args: &[&str]| read(ServiceName::Posts, args).unwrap().validate_urls();
        assert!(demand(&[]).is_ok());
        assert!(
            demand(&["--event-bus-url", "http://event-bus-srv:4005", "--advertise-url", "http://a"]).is_ok()
        );
        for (flag, setting) in [("--event-bus-url", "EVENT_BUS_URL"), ("--advertise-url", "ADVERTISE_URL")] {
            assert!(demand(&[flag, "event-bus-srv:4005"]).unwrap_err().to_string().starts_with(setting));
        }
    }

    #[test]
    fn the_bus_is_told_an_address_that_it_can_reach() {
        let advertised = |args: &[&str]| read(ServiceName::Posts, args).unwrap().advertised();
        assert_eq!(advertised(&[]), "http://127.0.0.1:4000");
        assert_eq!(advertised(&["--listen", "0.0.0.0:81"]), "http://127.0.0.1:81");
        assert_eq!(advertised(&["--listen", "[::1]:81"]), "http://[::1]:81");
        assert_eq!(
            advertised(&["--advertise-url", "http://posts-clusterip-srv:4000/"]),
            "http://posts-clusterip-srv:4000"
        );
    }
}
