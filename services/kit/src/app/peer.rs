//! A service that publishes and consumes events: everything that posts, comments, moderation and query have in
//! common.

use crate::app::StartError;
use crate::app::config::CommonConfig;
use crate::app::service::Service;
use crate::http::idempotency;
use crate::http::probes::Readiness;
use crate::messaging::bus_client::BusClient;
use crate::messaging::consumer::{Consumer, Handler};
use crate::messaging::relay::Relay;
use crate::messaging::subscriber::Subscriber;
use crate::messaging::{dead_letters, inbox, outbox};
use crate::runtime::deps::Deps;
use crate::runtime::lifecycle::Lifecycle;
use crate::store::{Migration, Store};
use axum::Router;
use shared::ServiceName;

/// The first migration of every peer: the tables that the kit itself uses.
pub const SCHEMA: Migration = &[inbox::SCHEMA, outbox::SCHEMA, dead_letters::SCHEMA, idempotency::SCHEMA];

/// A peer of the bus, with its store open.
#[derive(Debug)]
pub struct Peer {
    /// Who it is.
    pub name: ServiceName,
    /// Its store.
    pub store: Store,
    /// What it takes from the world.
    pub deps: Deps,
    /// Its stop signal and background tasks.
    pub lifecycle: Lifecycle,
    config: CommonConfig,
}

impl Peer {
    /// Opens the store in the data directory. `migrations` begin with [`SCHEMA`].
    pub fn open(
        name: ServiceName,
        config: &CommonConfig,
        deps: Deps,
        lifecycle: Lifecycle,
        migrations: &[Migration],
    ) -> Result<Self, StartError> {
        let store = Store::open(&config.data_dir, name.as_str(), migrations)
            .map_err(|error| StartError::Store(Box::new(error)))?;
        lifecycle.spawn("store", watch(store.clone(), lifecycle.stopping()));
        Ok(Self { name, store, deps, lifecycle, config: config.clone() })
    }

    /// Starts publishing and consuming, and makes the service of its own routes. With `history_first`, an empty
    /// store must catch up with the log before the service says that it is ready.
    pub fn service(self, api: Router, handler: impl Handler, history_first: bool) -> Service {
        let Self { name, store, deps, lifecycle, config } = self;
        let secret = config.secret.as_ref();
        let bus = BusClient::new(deps.clone(), &config.event_bus_url, secret);
        let readiness = Readiness::new();
        let relay = Relay { store: store.clone(), bus: bus.clone(), deps: deps.clone() };
        lifecycle.spawn("relay", relay.run(lifecycle.stopping()));
        let subscriber = Subscriber {
            name,
            url: format!("{}/events", config.advertised()),
            store: store.clone(),
            bus,
            deps: deps.clone(),
            ready: readiness.register("subscription"),
            history_first,
        };
        let (stopping, opened) = (lifecycle.stopping(), lifecycle.clone());
        lifecycle.spawn("subscriber", async move {
            // The bus delivers as soon as a consumer has registered.
            if stopping.run_until_cancelled(opened.listening()).await.is_some() {
                subscriber.run(stopping).await;
            }
        });
        let consumer = Consumer::new(name, store, handler, deps.clone(), secret, config.operator_token);
        Service { name, router: api.merge(consumer.router()), admin: None, readiness, lifecycle, deps }
    }
}

/// Ends when the store has failed for good, which the lifecycle then takes as a crash.
pub async fn watch(store: Store, stopping: tokio_util::sync::CancellationToken) {
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        reason = store.failure() => tracing::error!(reason, "the store has failed for good"),
    }
}
