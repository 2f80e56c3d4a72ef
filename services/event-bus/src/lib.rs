//! The event bus: stores the log of events, and delivers it to every subscriber.
//!
//! - [`domain`]: who may publish what; [`registration`]: who may subscribe; [`addresses`]: and where.
//! - [`log`]: the log of events, in SQLite, PostgreSQL or NATS JetStream; [`store`]: the database, and the table of
//!   subscriptions.
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
use crate::log::{EventLog, EventLogLocation, PostgresLog, SqliteLog};
use crate::registration::Rules;
use crate::store::SubscriptionTable;
use crate::subscriptions::Subscriptions;
use futures_util::FutureExt;
use kit::app::StartError;
use kit::app::service::{Service, watch_availability, watch_store};
use kit::http::probes::ReadinessChecks;
use kit::messaging::signature::Direction;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use kit::store::{OpenError, Store};
use shared::ServiceName;
use std::collections::HashMap;
use std::sync::Arc;

/// Builds the bus: opens the log, and starts the deliveries to all subscribers that were saved.
pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let publish_keys = config.keys(Direction::Publish)?;
    let deliver_keys: HashMap<_, _> =
        config.keys(Direction::Deliver)?.unwrap_or_default().into_iter().collect();
    let store_error = |e: Box<dyn std::error::Error + Send + Sync>| StartError::Store(e);
    let (store, log) = open(&config).await?;
    lifecycle.spawn("log", log.maintain(lifecycle.stopping()));
    let table = SubscriptionTable::new(store.clone(), config.store.database().is_some());
    let checks = ReadinessChecks::new();
    watch_availability(&store, &checks, &lifecycle);
    lifecycle.spawn("store", watch_store(store, lifecycle.stopping()));

    let urls = SubscriberUrls::new(config.subscriber_urls.clone());
    if urls.is_empty() && publish_keys.is_some() {
        tracing::warn!("SUBSCRIBER_URLS is not set: a service may register any address to receive events");
    }
    let rules = Rules::new(config.subscribe.clone(), urls.clone(), config.store.insecure);
    let subscriptions = Subscriptions::new(
        Arc::clone(&log),
        table.clone(),
        deps.clone(),
        lifecycle.clone(),
        deliver_keys,
        rules,
    );
    // The only replica delivers from its start.
    let leadership = table.lead().now_or_never();
    if leadership.is_some() {
        subscriptions.begin().await.map_err(|e| store_error(Box::new(e)))?;
    }
    lifecycle.spawn("deliveries", Arc::clone(&subscriptions).run(leadership, lifecycle.stopping()));

    let bus = api::Bus {
        log,
        subscriptions,
        publish_keys: publish_keys.map(Into::into),
        urls,
        deps: deps.clone(),
        stopping: lifecycle.stopping(),
    };
    let router = api::router(bus, config.store.operator_token.clone());
    Ok(Service { readiness: checks, ..Service::new(ServiceName::EventBus, &config, router, deps, lifecycle) })
}

/// The store, in the database that is configured or in a file, and the log: in the same place, unless another one is
/// configured.
async fn open(config: &Config) -> Result<(Store, Arc<dyn EventLog>), StartError> {
    let failed = |error: OpenError| StartError::Store(Box::new(error));
    let database = config.store.database();
    let store = match &database {
        Some(location) => Store::connect(location, "event-bus", store::SCHEMA).await,
        None => store::open(&config.store.data_dir, config.store.options()),
    };
    let store = store.map_err(failed)?;
    let log: Arc<dyn EventLog> = match (config.event_log(), database) {
        (Some(location), _) => open_event_log(location).await?,
        (None, Some(_)) => Arc::new(PostgresLog::open(store.clone()).await.map_err(failed)?),
        (None, None) => Arc::new(SqliteLog::open(store.clone()).await.map_err(failed)?),
    };
    Ok((store, log))
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
