//! The comments service: takes comments and follows their fate.
//!
//! - [`domain`]: what a comment is; [`store`]: its SQL; [`api`]: its HTTP; [`events`]: what it does with each event.

pub mod api;
pub mod domain;
pub mod events;
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
    let https = config.store.common.is_https();
    let peer = Peer::open(ServiceName::Comments, &config, deps, lifecycle, store::MIGRATIONS)?;
    let api = api::Api { store: peer.store.clone(), deps: peer.deps.clone(), https };
    Ok(peer.service(api::router(api), events::CommentEvents, Readiness::AtOnce))
}
