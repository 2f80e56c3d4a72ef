//! The settings of the bus.

use crate::addresses::AllowedOrigin;
use crate::log::{EventLogLocation, EventLogUrl, EventLogUrlParser};
use kit::app::StartError;
use kit::app::config::{CommonConfig, SecretParser, ServiceConfig, StoreConfig, secret_env};
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::secret::Secret;
use shared::ServiceName;
use std::path::PathBuf;

#[derive(clap::Args, Debug, Clone)]
pub struct Config {
    /// The settings of every service with a store.
    #[command(flatten)]
    pub store: StoreConfig,
    /// Secret shared with posts.
    #[arg(long, env = "POSTS_SECRET", hide_env_values = true, value_parser = SecretParser, value_name = "SECRET")]
    pub posts_secret: Option<Secret>,
    /// Secret shared with comments.
    #[arg(long, env = "COMMENTS_SECRET", hide_env_values = true, value_parser = SecretParser, value_name = "SECRET")]
    pub comments_secret: Option<Secret>,
    /// Secret shared with moderation.
    #[arg(long, env = "MODERATION_SECRET", hide_env_values = true, value_parser = SecretParser, value_name = "SECRET")]
    pub moderation_secret: Option<Secret>,
    /// Secret shared with query.
    #[arg(long, env = "QUERY_SECRET", hide_env_values = true, value_parser = SecretParser, value_name = "SECRET")]
    pub query_secret: Option<Secret>,
    /// Plain services of the course that receive every event too, one per request and unsigned:
    /// name=http://host/events.
    #[arg(long, env = "SUBSCRIBE", value_delimiter = ',', value_parser = parse_subscriber, value_name = "NAME=URL")]
    pub subscribe: Vec<(String, String)>,
    /// Where each service may register to receive events: name=http://host:port, several times for several addresses.
    /// A host may begin with `*.`, for one label. Other registrations are refused [default: every address is accepted].
    #[arg(long = "subscriber-url", env = "SUBSCRIBER_URLS", value_delimiter = ',', value_parser = parse_origin, value_name = "NAME=URL")]
    pub subscriber_urls: Vec<(String, AllowedOrigin)>,
    /// NATS servers that hold the log, in a stream of JetStream: nats://user:password@host:port/stream?replicas=3
    /// [default: the bus's own database].
    #[arg(long, env = "EVENT_LOG_URL", hide_env_values = true, value_parser = EventLogUrlParser, value_name = "URL")]
    pub event_log_url: Option<EventLogUrl>,
    /// File that holds this URL; it is read before each connection.
    #[arg(long, env = "EVENT_LOG_URL_FILE", value_name = "FILE", conflicts_with = "event_log_url")]
    pub event_log_url_file: Option<PathBuf>,
}

impl ServiceConfig for Config {
    fn common(&self) -> &CommonConfig {
        self.store.common()
    }

    fn is_insecure(&self) -> bool {
        self.store.is_insecure()
    }

    fn validate(&self, name: ServiceName) -> Result<(), StartError> {
        self.store.validate(name)
    }
}

fn parse_subscriber(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && url.starts_with("http://") => {
            Ok((name.to_owned(), url.to_owned()))
        }
        _ => Err("write it as name=http://host:port/events".to_owned()),
    }
}

fn parse_origin(text: &str) -> Result<(String, AllowedOrigin), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let url = parts.and_then(|(_, url)| url.parse::<http::Uri>().ok());
    // A path would suggest that it is compared, too.
    let origin = url.filter(|url| matches!(url.path(), "" | "/") && url.query().is_none());
    match (parts, origin.and_then(|url| AllowedOrigin::of(&url))) {
        (Some((name, _)), Some(origin)) => Ok((name.to_owned(), origin)),
        _ => Err("write it as name=http://host:port, without a path; the host may begin with *.".to_owned()),
    }
}

impl Config {
    fn secret_of(&self, service: ServiceName) -> Option<&Secret> {
        match service {
            ServiceName::Posts => self.posts_secret.as_ref(),
            ServiceName::Comments => self.comments_secret.as_ref(),
            ServiceName::Moderation => self.moderation_secret.as_ref(),
            ServiceName::Query => self.query_secret.as_ref(),
            ServiceName::EventBus | ServiceName::Frontend => None,
        }
    }

    /// Where the log is, if not in the bus's own database.
    pub fn event_log(&self) -> Option<EventLogLocation> {
        let file = || self.event_log_url_file.clone().map(EventLogLocation::File);
        self.event_log_url.clone().map(EventLogLocation::Url).or_else(file)
    }

    /// The keys of all peers in one direction; `None` where the bus runs `--insecure` without secrets.
    pub fn keys(&self, direction: Direction) -> Result<Option<Vec<(ServiceName, SigningKey)>>, StartError> {
        let mut keys = Vec::new();
        for service in ServiceName::PEERS {
            match self.secret_of(service) {
                Some(secret) => keys.push((service, SigningKey::derive(secret, direction))),
                None if self.store.insecure => return Ok(None),
                None => {
                    let env = secret_env(service);
                    return Err(StartError::MissingSecret { flag: "a service's secret", env });
                }
            }
        }
        Ok(Some(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_a_service_may_register_has_no_path_and_no_user() {
        assert!(parse_origin("posts=http://posts-srv:4000").is_ok());
        for bad in [
            "posts",
            "=http://a",
            "posts=a:1",
            "posts=https://a",
            "posts=http://a/events",
            "posts=http://a@b",
            "posts=http://a.*",
        ] {
            assert!(parse_origin(bad).unwrap_err().contains("name=http://host:port"), "{bad}");
        }
    }
}
