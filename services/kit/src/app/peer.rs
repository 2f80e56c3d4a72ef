//! A service that publishes and consumes events: what posts, comments, moderation and query have in common.

use crate::app::StartError;
use crate::app::config::PeerConfig;
use crate::app::service::{Service, watch_availability, watch_store};
use crate::http::probes::ReadinessChecks;
use crate::http::{RateLimits, WriteLimits, idempotency};
use crate::messaging::bus_client::BusClient;
use crate::messaging::consumer::{Consumer, Handler};
use crate::messaging::relay::Relay;
use crate::messaging::subscriber::{Readiness, Subscriber};
use crate::messaging::{dead_letters, inbox, outbox};
use crate::rt;
use crate::runtime::deps::Deps;
use crate::runtime::lifecycle::Lifecycle;
use crate::store::{Migration, Schema, Store};
use axum::Router;
use shared::ServiceName;
use tokio_util::sync::CancellationToken;

/// The first migration of every peer: the tables that the kit itself uses.
pub const SCHEMA: Migration = &[inbox::SCHEMA, outbox::SCHEMA, dead_letters::SCHEMA, idempotency::SCHEMA];

/// A later migration of every peer: the index that finds the dead letter of an event.
pub const DEAD_LETTERS_BY_EVENT: Migration = &[dead_letters::BY_EVENT];

/// A still later one: what identifies the event of a dead letter has columns.
pub const DEAD_LETTERS_EVENT_COLUMNS: Migration = &[dead_letters::EVENT_COLUMNS];

/// The last one: the row of the cursor.
pub const CURSOR_ROW: Migration = &[inbox::CURSOR_ROW];

/// The tables that the kit itself uses as they are now: every peer's present tables begin with them.
pub mod tables {
    use crate::http::idempotency;
    use crate::messaging::{dead_letters, inbox, outbox};

    /// The consumer's cursor, and the events without a sequence.
    pub const INBOX: &str = inbox::SCHEMA;
    /// The row of the cursor.
    pub const CURSOR_ROW: &str = inbox::CURSOR_ROW;
    /// Events on their way to the bus.
    pub const OUTBOX: &str = outbox::SCHEMA;
    /// Events that could not be applied.
    pub const DEAD_LETTERS: &str = dead_letters::PRESENT;
    /// The keys of requests that may be repeated.
    pub const IDEMPOTENCY: &str = idempotency::SCHEMA;
}

/// How long a replica that was deposed leaves the duty to others.
const AFTER_A_TERM: std::time::Duration = std::time::Duration::from_millis(500);

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
    /// Opens the store: the database that is configured, else a file in the data directory. The history of the schema begins
    /// with [`SCHEMA`], and holds [`DEAD_LETTERS_BY_EVENT`], [`DEAD_LETTERS_EVENT_COLUMNS`] and [`CURSOR_ROW`]; its present
    /// tables begin with [`tables`], and are empty for a service that keeps a file of its own in any case.
    pub async fn open(
        name: ServiceName,
        config: &PeerConfig,
        deps: Deps,
        lifecycle: Lifecycle,
        schema: Schema,
    ) -> Result<Self, StartError> {
        let (dir, options) = (&config.store.data_dir, config.store.options());
        let store = match config.store.database() {
            Some(_) if schema.present.is_empty() => {
                let why = format!("{name} keeps its data in a file of its own: leave out --database-url");
                return Err(StartError::Config(why));
            }
            Some(location) => Store::connect(&location, name.as_str(), schema).await,
            None => Store::open_with(dir, name.as_str(), schema.history, options),
        };
        let store = store.map_err(|error| StartError::Store(Box::new(error)))?;
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
        let leading = while_leading(store.clone(), "relay", lifecycle.stopping(), move |term| {
            let Relay { store, bus, deps } = &relay;
            Relay { store: store.clone(), bus: bus.clone(), deps: deps.clone() }.run(term)
        });
        lifecycle.spawn("relay", leading);
        let (swept, clock) = (store.clone(), deps.clone());
        let sweep = move |term| idempotency::keep_swept(swept.clone(), clock.clone(), term);
        let leading = while_leading(store.clone(), "sweep", lifecycle.stopping(), sweep);
        lifecycle.spawn("sweep", leading);
        let subscriber = Subscriber {
            name: instance.map_or(name.to_string(), |instance| format!("{name}/{instance}")),
            url: format!("{}/events", config.advertised()),
            store: store.clone(),
            bus,
            deps: deps.clone(),
            ready: checks.register("subscription"),
            readiness,
        };
        if readiness == Readiness::AtOnce {
            // Also where another replica is the one that registers.
            subscriber.ready.set(true, "");
        }
        let (stopping, opened, leads) = (lifecycle.stopping(), lifecycle.clone(), store.clone());
        lifecycle.spawn("subscriber", async move {
            // The bus delivers as soon as a consumer has registered.
            if stopping.run_until_cancelled(opened.listening()).await.is_some() {
                let run = move |term| subscriber.clone().run(term);
                while_leading(leads, "subscriber", stopping, run).await;
            }
        });
        watch_availability(&store, &checks, &lifecycle);
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

/// Runs what one replica does at a time, whenever this one leads, until `stopping`.
async fn while_leading<F: Future<Output = ()>>(
    store: Store,
    duty: &'static str,
    stopping: CancellationToken,
    run: impl Fn(CancellationToken) -> F,
) {
    while let Some(leadership) = stopping.run_until_cancelled(store.lead(duty)).await {
        let term = stopping.child_token();
        let acting = run(term.clone());
        let deposed = async {
            leadership.lost().await;
            term.cancel();
            // What is under way ends first.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = deposed => {}
            () = acting => {}
        }
        if stopping.is_cancelled() {
            return;
        }
        tracing::warn!(duty, "this replica no longer leads");
        // Not at once: the session has just been lost.
        rt::sleep(AFTER_A_TERM).await;
    }
}
