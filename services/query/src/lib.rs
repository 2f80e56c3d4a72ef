//! The query service, the reading side: posts with their comments.
//!
//! - [`domain`]: the read model; [`store`]: its SQL; [`api`]: its HTTP; [`events`]: what it does with each event.
//! - [`cache`]: the hot answer as bytes; [`live`]: changes as they happen.
//!
//! The read model can be thrown away at any time: it is rebuilt from the log, byte for byte.

pub mod api;
pub mod cache;
pub mod domain;
pub mod events;
pub mod live;
pub mod store;

use kit::app::StartError;
use kit::app::config::PeerConfig;
use kit::app::peer::Peer;
use kit::app::service::Service;
use kit::messaging::subscriber::Readiness;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use shared::ServiceName;

/// The settings: those of every peer of the bus.
pub type Config = PeerConfig;

/// Builds the service.
pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let operator = config.store.operator_token.clone();
    let peer = Peer::open(ServiceName::Query, &config, deps, lifecycle, store::MIGRATIONS)?;
    let live = live::Live::new(peer.store.clone());
    peer.lifecycle.spawn("live", live.clone().run(peer.lifecycle.stopping()));
    let posts = cache::Cache::new(&peer.store);
    let api = api::Api { store: peer.store.clone(), posts, live, stopping: peer.lifecycle.stopping() };
    // Readers of a new and empty store would be told that there are no posts: it catches up first.
    Ok(peer.service(api::router(api, operator), events::QueryEvents, Readiness::CaughtUp))
}
