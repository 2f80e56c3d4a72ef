//! The event bus: stores the log of events, and delivers it to every subscriber.
//!
//! - [`domain`]: who may publish what; [`registration`]: who may subscribe; [`addresses`]: and where.
//! - [`log`]: the log of events, in SQLite or NATS JetStream; [`store`]: the database, and the table of subscriptions.
//! - [`delivery`]: one subscriber, as a state machine and its driver; [`subscriptions`]: all of them.
//! - [`api`]: its HTTP; [`config`]: its settings.

pub mod addresses;
pub mod api;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod log;
pub mod registration;
pub mod store;
pub mod subscriptions;

pub use config::Config;

use crate::addresses::SubscriberUrls;
use crate::delivery::answer::Protocol;
use crate::log::{EventLog, EventLogLocation, SqliteLog};
use crate::registration::Restored;
use crate::store::{SavedSubscription, SubscriptionTable};
use crate::subscriptions::Subscriptions;
use kit::app::StartError;
use kit::app::service::{Service, watch_store};
use kit::messaging::signature::Direction;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use shared::{Sequence, ServiceName};
use std::collections::HashMap;
use std::sync::Arc;

/// Builds the bus: opens the log, and starts the deliveries to all subscribers that were saved.
pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let publish_keys = config.keys(Direction::Publish)?;
    let deliver_keys: HashMap<_, _> =
        config.keys(Direction::Deliver)?.unwrap_or_default().into_iter().collect();
    let store_error = |e: Box<dyn std::error::Error + Send + Sync>| StartError::Store(e);
    let store =
        store::open(&config.store.data_dir, config.store.options()).map_err(|e| store_error(Box::new(e)))?;
    let log: Arc<dyn EventLog> = match config.event_log() {
        Some(location) => open_event_log(location).await?,
        None => Arc::new(SqliteLog::open(store.clone()).await.map_err(|e| store_error(Box::new(e)))?),
    };
    lifecycle.spawn("log", log.maintain(lifecycle.stopping()));
    let table = SubscriptionTable::new(store.clone());
    let saved = table.all().await.map_err(|e| store_error(Box::new(e)))?;
    lifecycle.spawn("store", watch_store(store, lifecycle.stopping()));

    let urls = SubscriberUrls::new(config.subscriber_urls.clone());
    if urls.is_empty() && publish_keys.is_some() {
        tracing::warn!("SUBSCRIBER_URLS is not set: a service may register any address to receive events");
    }
    let subscriptions =
        Subscriptions::new(Arc::clone(&log), table.clone(), deps.clone(), lifecycle.clone(), deliver_keys);
    for subscription in saved {
        match registration::restore(subscription, &config.subscribe, &urls, config.store.insecure) {
            Restored::Native(subscription) => subscriptions.start(subscription, Protocol::Native),
            Restored::Plain(subscription) => subscriptions.start(subscription, Protocol::Plain),
            Restored::Refused(SavedSubscription { name, url, .. }) => {
                tracing::warn!(
                    subscriber = name,
                    url,
                    "unsubscribed: the settings no longer allow this subscriber"
                );
                table.delete(name).await.map_err(|e| store_error(Box::new(e)))?;
            }
        }
    }
    let known = subscriptions.views().await;
    for (name, url) in &config.subscribe {
        if !known.iter().any(|view| view.name == *name) {
            let new = SavedSubscription {
                name: name.clone(),
                url: url.clone(),
                cursor: Sequence::START,
                batch: false,
                seen_at: deps.clock.now(),
            };
            subscriptions.start(new, Protocol::Plain);
        }
    }
    lifecycle.spawn("cursors", Arc::clone(&subscriptions).keep_saved(lifecycle.stopping()));

    let bus = api::Bus {
        log,
        subscriptions,
        publish_keys: publish_keys.map(Into::into),
        urls,
        deps: deps.clone(),
        stopping: lifecycle.stopping(),
    };
    let router = api::router(bus, config.store.operator_token.clone());
    Ok(Service::new(ServiceName::EventBus, &config, router, deps, lifecycle))
}

/// Opens the log in NATS JetStream.
#[cfg(feature = "jetstream")]
async fn open_event_log(location: EventLogLocation) -> Result<Arc<dyn EventLog>, StartError> {
    let log = log::jetstream::JetStreamLog::open(location).await;
    Ok(Arc::new(log.map_err(|error| StartError::Config(error.to_string()))?))
}

#[cfg(not(feature = "jetstream"))]
async fn open_event_log(_: EventLogLocation) -> Result<Arc<dyn EventLog>, StartError> {
    let why = "EVENT_LOG_URL is set, and this program was built without NATS JetStream: build it with --features jetstream";
    Err(StartError::Config(why.to_owned()))
}
