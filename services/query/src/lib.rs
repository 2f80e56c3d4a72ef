//! The query service: posts with their comments, for readers.
//!
//! [`api`]: HTTP; [`domain`]: the rules; [`events`]: what it does with each event; [`store`]: SQL; [`cache`]: the most
//! frequent answer as bytes; [`live`]: changes as they happen, [`stream_places`]: how many may follow them.
//!
//! The read model can be deleted at any time: it is rebuilt from the log, byte for byte.

pub mod api;
pub mod cache;
pub mod domain;
pub mod events;
pub mod live;
pub mod store;
pub mod stream_places;

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
    let operator = config.store.operator_token.clone();
    let peer = Peer::open(ServiceName::Query, &config, deps, lifecycle, store::MIGRATIONS)?;
    let live = live::Live::new(peer.store.clone());
    peer.lifecycle.spawn("live", live.clone().run(peer.lifecycle.stopping()));
    let posts = cache::Cache::new(&peer.store);
    let places = stream_places::StreamPlaces::new(config.store.common.rate_limits);
    let api =
        api::Api { store: peer.store.clone(), posts, live, places, stopping: peer.lifecycle.stopping() };
    // An empty store must catch up with the log first, or readers would see a blog without posts.
    Ok(peer.service(api::router(api, operator), events::QueryEvents, Readiness::CaughtUp))
}
