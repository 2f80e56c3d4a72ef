//! A service that publishes and consumes events: what posts, comments, moderation and query have in common.

use crate::app::StartError;
use crate::app::config::PeerConfig;
use crate::app::service::{Service, watch_store};
use crate::http::probes::ReadinessChecks;
use crate::http::{RateLimits, WriteLimits, idempotency};
use crate::messaging::bus_client::BusClient;
use crate::messaging::consumer::{Consumer, Handler};
use crate::messaging::relay::Relay;
use crate::messaging::subscriber::{Readiness, Subscriber};
use crate::messaging::{dead_letters, inbox, outbox};
use crate::runtime::deps::Deps;
use crate::runtime::lifecycle::Lifecycle;
use crate::store::{Migration, Store};
use axum::Router;
use shared::ServiceName;

/// The first migration of every peer: the tables that the kit itself uses.
pub const SCHEMA: Migration = &[inbox::SCHEMA, outbox::SCHEMA, dead_letters::SCHEMA, idempotency::SCHEMA];

/// A later migration of every peer: the index that finds the dead letter of an event.
pub const DEAD_LETTERS_BY_EVENT: Migration = &[dead_letters::BY_EVENT];

/// A still later one: what identifies the event of a dead letter has columns.
pub const DEAD_LETTERS_EVENT_COLUMNS: Migration = &[dead_letters::EVENT_COLUMNS];

/// The last one: the row of the cursor.
pub const CURSOR_ROW: Migration = &[inbox::CURSOR_ROW];

/// A peer of the bus, with its store open.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub name: ServiceName,
    /// Its store.
    pub store: Store,
    /// Its clock, ids and connections.
    pub deps: Deps,
    /// Its stop signal and background tasks.
    pub lifecycle: Lifecycle,
    /// Its name among the replicas of the service, where each of them receives every event.
    pub instance: Option<String>,
    config: PeerConfig,
}

impl Peer {
    /// Opens the store in the data directory. `migrations` begin with [`SCHEMA`], and hold [`DEAD_LETTERS_BY_EVENT`],
    /// [`DEAD_LETTERS_EVENT_COLUMNS`] and [`CURSOR_ROW`].
    pub fn open(
        name: ServiceName,
        config: &PeerConfig,
        deps: Deps,
        lifecycle: Lifecycle,
        migrations: &[Migration],
    ) -> Result<Self, StartError> {
        let (dir, options) = (&config.store.data_dir, config.store.options());
        let store = Store::open_with(dir, name.as_str(), migrations, options)
            .map_err(|error| StartError::Store(Box::new(error)))?;
        lifecycle.spawn("store", watch_store(store.clone(), lifecycle.stopping()));
        Ok(Self { name, store, deps, lifecycle, instance: None, config: config.clone() })
    }

    /// Starts publishing and consuming, and builds the service from its own routes.
    pub fn service(self, api: Router, handler: impl Handler, readiness: Readiness) -> Service {
        let Self { name, store, deps, lifecycle, instance, config } = self;
        let secret = config.secret.as_ref();
        let bus = BusClient::new(deps.clone(), &config.event_bus_url, secret);
        let checks = ReadinessChecks::new();
        // Every peer publishes: query has no events of its own, but its discards.
        let relay = Relay { store: store.clone(), bus: bus.clone(), deps: deps.clone() };
        lifecycle.spawn("relay", relay.run(lifecycle.stopping()));
        let subscriber = Subscriber {
            name: instance.map_or(name.to_string(), |instance| format!("{name}/{instance}")),
            url: format!("{}/events", config.advertised()),
            store: store.clone(),
            bus,
            deps: deps.clone(),
            ready: checks.register("subscription"),
            readiness,
        };
        let (stopping, opened) = (lifecycle.stopping(), lifecycle.clone());
        lifecycle.spawn("subscriber", async move {
            // The bus delivers as soon as a consumer has registered.
            if stopping.run_until_cancelled(opened.listening()).await.is_some() {
                subscriber.run(stopping).await;
            }
        });
        let token = config.store.operator_token.clone();
        let api = match config.store.common.rate_limits {
            RateLimits::On => WriteLimits::new(token.clone()).guard(api),
            RateLimits::Off => api,
        };
        let consumer = Consumer::new(name, store, handler, deps.clone(), secret, token);
        let router = api.merge(consumer.router());
        Service {
            readiness: checks,
            hosts: config.hosts(),
            ..Service::new(name, &config, router, deps, lifecycle)
        }
    }
}
