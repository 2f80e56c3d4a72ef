//! The comments service: accepts comments and tracks their moderation.
//!
//! [`api`]: HTTP; [`domain`]: domain logic; [`events`]: what the service does with each event; [`store`]: SQL.

pub mod api;
pub mod domain;
pub mod events;
pub mod store;

use kit::app::StartError;
use kit::app::config::PeerConfig;
use kit::app::peer::Peer;
use kit::app::service::Service;
use kit::http::author::AuthorTokens;
use kit::messaging::subscriber::Readiness;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use shared::ServiceName;

pub type Config = PeerConfig;

pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let https = config.store.common.is_https();
    let authors = AuthorTokens::new(config.secret.as_ref(), deps.ids.as_ref());
    let peer = Peer::open(ServiceName::Comments, &config, deps, lifecycle, store::MIGRATIONS)?;
    let api = api::Api { store: peer.store.clone(), deps: peer.deps.clone(), authors, https };
    Ok(peer.service(api::router(api), events::CommentEvents, Readiness::AtOnce))
}
