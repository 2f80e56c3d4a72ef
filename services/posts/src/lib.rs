//! The posts service: accepts new posts.
//!
//! [`api`]: HTTP; [`domain`]: the rules; [`events`]: what it does with each event; [`store`]: SQL.

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

pub type Config = PeerConfig;

pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let peer = Peer::open(ServiceName::Posts, &config, deps, lifecycle, store::SCHEMA).await?;
    let api = api::Api { store: peer.store.clone(), deps: peer.deps.clone() };
    Ok(peer.service(api::router(api), events::PostEvents, Readiness::AtOnce))
}
