//! The comments service: takes comments and follows their fate.
//!
//! - [`domain`]: what a comment is; [`store`]: its SQL; [`api`]: its HTTP; [`events`]: what it does with each event.

pub mod api;
pub mod domain;
pub mod events;
pub mod store;

use kit::config::CommonConfig;
use kit::deps::Deps;
use kit::lifecycle::Lifecycle;
use kit::peer::Peer;
use kit::service::{Service, StartError};
use shared::ServiceName;

/// The settings: those that every service has.
pub type Config = CommonConfig;

/// Builds the service.
pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let peer = Peer::open(ServiceName::Comments, &config, deps, lifecycle, store::MIGRATIONS)?;
    let api = api::Api { store: peer.store.clone(), deps: peer.deps.clone() };
    Ok(peer.service(api::router(api), events::CommentEvents, false))
}
