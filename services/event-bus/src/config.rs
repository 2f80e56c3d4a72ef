//! The settings of the bus.

use kit::app::StartError;
use kit::app::config::{CommonConfig, SecretParser, ServiceConfig, StoreConfig, secret_env};
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::secret::Secret;
use shared::ServiceName;

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
    /// Where each service may register to receive events: name=http://host:port. Other registrations are refused
    /// [default: every address is accepted].
    #[arg(long = "subscriber-url", env = "SUBSCRIBER_URLS", value_delimiter = ',', value_parser = parse_origin, value_name = "NAME=URL")]
    pub subscriber_urls: Vec<(String, Origin)>,
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

/// The host and port of an http URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// `None` where this is no http URL, or one with a user name: `http://posts:4000@elsewhere` goes elsewhere.
    pub fn of(url: &http::Uri) -> Option<Self> {
        let authority = url.authority().filter(|_| url.scheme_str() == Some("http"))?;
        let is_valid = !authority.as_str().contains('@') && !authority.host().is_empty();
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            None => 80,
        };
        is_valid.then(|| Self { host: authority.host().to_ascii_lowercase(), port })
    }
}

/// Which services may register which addresses. Without an entry at all, every address is accepted.
#[derive(Debug, Clone, Default)]
pub struct SubscriberUrls(Vec<(String, Origin)>);

impl SubscriberUrls {
    pub fn new(entries: Vec<(String, Origin)>) -> Self {
        Self(entries)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn allows(&self, name: &str, url: &str) -> bool {
        let origin = url.parse().ok().and_then(|url| Origin::of(&url));
        self.is_empty() || self.0.iter().any(|(n, o)| n == name && Some(o) == origin.as_ref())
    }

    /// The URL at the first address that this service may register; `None` if it may register none.
    pub fn moved(&self, name: &str, url: &str) -> Option<String> {
        let (_, Origin { host, port }) = self.0.iter().find(|(n, _)| n == name)?;
        let url: http::Uri = url.parse().ok()?;
        let path = url.path_and_query()?;
        Some(if *port == 80 { format!("http://{host}{path}") } else { format!("http://{host}:{port}{path}") })
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

fn parse_origin(text: &str) -> Result<(String, Origin), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let url = parts.and_then(|(_, url)| url.parse::<http::Uri>().ok());
    // A path would suggest that it is compared, too.
    let origin = url.filter(|url| matches!(url.path(), "" | "/") && url.query().is_none());
    match (parts, origin.and_then(|url| Origin::of(&url))) {
        (Some((name, _)), Some(origin)) => Ok((name.to_owned(), origin)),
        _ => Err("write it as name=http://host:port, without a path".to_owned()),
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
    fn an_address_is_allowed_by_its_host_and_port_alone() {
        let entries = ["posts=http://Posts-srv:4000", "query=http://q/", "query=http://[::1]:81"];
        let urls = SubscriberUrls::new(entries.iter().map(|text| parse_origin(text).unwrap()).collect());
        for (name, url) in [
            ("posts", "http://posts-srv:4000/events"),
            ("posts", "http://POSTS-SRV:4000/other?x=y"),
            ("query", "http://q/events"),
            ("query", "http://q:80/events"),
            ("query", "http://[::1]:81/events"),
        ] {
            assert!(urls.allows(name, url), "{name} {url}");
            assert!(!urls.allows("comments", url), "each service has its own addresses");
        }
        for url in [
            "http://posts-srv/events",
            "http://posts-srv:40001/events",
            "http://posts-srv:4000.elsewhere/events",
            "http://posts-srv:4000@elsewhere/events",
            "http://elsewhere/posts-srv:4000",
            "https://posts-srv:4000/events",
            "posts-srv:4000",
            "",
        ] {
            assert!(!urls.allows("posts", url), "{url}");
        }
        assert!(SubscriberUrls::default().allows("posts", "http://anywhere/events"));
        for bad in [
            "posts",
            "=http://a",
            "posts=a:1",
            "posts=https://a",
            "posts=http://a/events",
            "posts=http://a@b",
        ] {
            assert!(parse_origin(bad).unwrap_err().contains("name=http://host:port"), "{bad}");
        }
    }
}
