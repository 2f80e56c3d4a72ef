//! The event bus: keeps the log, and delivers it to every subscriber.
//!
//! - [`log`]: what the bus needs of a log; [`store`]: the log in SQLite, with a [`checksum`] of each event.
//! - [`domain`]: who may publish what, and what an answer to a delivery means.
//! - [`delivery`]: one subscriber; [`subscriptions`]: all of them.
//! - [`api`]: the routes.

pub mod api;
pub mod checksum;
pub mod delivery;
pub mod domain;
pub mod log;
pub mod store;
pub mod subscriptions;

use crate::domain::Protocol;
use crate::store::{SavedSubscription, SqliteLog};
use crate::subscriptions::Subscriptions;
use kit::app::StartError;
use kit::app::config::{CommonConfig, SecretParser, ServiceConfig, StoreConfig};
use kit::app::service::{Service, watch_store};
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use kit::runtime::secret::Secret;
use shared::{Sequence, ServiceName};
use std::collections::HashMap;
use std::sync::Arc;

/// The settings of the bus.
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
    /// Plain services of the course that get every event too, one per request and unsigned: name=http://host/events.
    #[arg(long, env = "SUBSCRIBE", value_delimiter = ',', value_parser = parse_subscriber, value_name = "NAME=URL")]
    pub subscribe: Vec<(String, String)>,
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

    /// The keys of all peers in one direction; nothing where the bus runs `--insecure` without secrets.
    fn keys(&self, direction: Direction) -> Result<Option<Vec<(ServiceName, SigningKey)>>, StartError> {
        let mut keys = Vec::new();
        for service in ServiceName::PEERS {
            match self.secret_of(service) {
                Some(secret) => keys.push((service, SigningKey::derive(secret, direction))),
                None if self.store.insecure => return Ok(None),
                None => {
                    let env = kit::app::config::secret_env(service);
                    return Err(StartError::MissingSecret { flag: "a service's secret", env });
                }
            }
        }
        Ok(Some(keys))
    }
}

/// Builds the bus: opens the log, and starts delivering to whoever subscribed before.
pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let publishers = config.keys(Direction::Publish)?;
    let deliver: HashMap<_, _> = config.keys(Direction::Deliver)?.unwrap_or_default().into_iter().collect();
    let store_error = |e: Box<dyn std::error::Error + Send + Sync>| StartError::Store(e);
    let log = SqliteLog::open(&config.store.data_dir).await.map_err(|e| store_error(Box::new(e)))?;
    let saved = log.subscriptions().await.map_err(|e| store_error(Box::new(e)))?;
    lifecycle.spawn("store", watch_store(log.store().clone(), lifecycle.stopping()));

    let subscriptions = Subscriptions::new(log.clone(), deps.clone(), lifecycle.clone(), deliver);
    for mut subscription in saved {
        let plain = config.subscribe.iter().find(|(name, _)| *name == subscription.name);
        if let Some((_, url)) = plain {
            subscription.url.clone_from(url);
        }
        let is_peer = ServiceName::PEERS.iter().any(|peer| peer.as_str() == subscription.name);
        if plain.is_none() && !is_peer && !config.store.insecure {
            tracing::warn!(subscriber = subscription.name, "is no longer configured: unsubscribed");
            log.forget(subscription.name).await.map_err(|e| store_error(Box::new(e)))?;
            continue;
        }
        subscriptions.start(subscription, if plain.is_some() { Protocol::Plain } else { Protocol::Native });
    }
    let known = subscriptions.views().await;
    for (name, url) in &config.subscribe {
        if !known.iter().any(|view| view.name == *name) {
            let new = SavedSubscription {
                name: name.clone(),
                url: url.clone(),
                cursor: Sequence::START,
                batch: false,
            };
            subscriptions.start(new, Protocol::Plain);
        }
    }
    lifecycle.spawn("cursors", Arc::clone(&subscriptions).keep_saved(lifecycle.stopping()));

    let bus = api::Bus {
        log: Arc::new(log),
        subscriptions,
        publishers: publishers.map(Into::into),
        deps: deps.clone(),
        stopping: lifecycle.stopping(),
    };
    let router = api::router(bus, config.store.operator_token.clone());
    Ok(Service::new(ServiceName::EventBus, &config, router, deps, lifecycle))
}
