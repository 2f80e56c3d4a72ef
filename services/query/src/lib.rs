//! The query service: posts with their comments, for readers.
//!
//! [`api`]: HTTP; [`domain`]: the rules; [`events`]: what it does with each event; [`store`]: SQL; [`document`]: the
//! most frequent answer as bytes; [`thread`]: a post with a page of its comments; [`live`]: changes as they happen,
//! [`stream_slots`]: how many may follow them; [`replica`]: how far this replica is; [`config`]: the settings.
//!
//! The read model can be deleted at any time: it is rebuilt from the log, byte for byte.

pub mod api;
pub mod config;
pub mod document;
pub mod domain;
pub mod events;
pub mod live;
pub mod replica;
pub mod store;
pub mod stream_slots;
pub mod thread;

use kit::app::StartError;
use kit::app::peer::Peer;
use kit::app::service::Service;
use kit::messaging::subscriber::Readiness;
use kit::runtime::deps::Deps;
use kit::runtime::key_waiters::KeyWaiters;
use kit::runtime::lifecycle::Lifecycle;
use kit::store::{Guard, Store};
use replica::Replica;
use shared::ServiceName;
use std::error::Error;

pub use config::Config;

pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let Config { peer: config, instance } = config;
    let operator = config.store.operator_token.clone();
    let mut peer = Peer::open(ServiceName::Query, &config, deps, lifecycle, store::SCHEMA).await?;
    let is_one_of_several = instance.is_some();
    peer.instance = instance;
    fill_excerpts(&peer.store).await.map_err(StartError::Store)?;
    let live = live::Live::new(peer.store.clone());
    peer.lifecycle.spawn("live", live.clone().run(peer.lifecycle.stopping()));
    let replica = Replica::new(peer.store.clone(), is_one_of_several, peer.lifecycle.stopping());
    peer.lifecycle.spawn("replica", replica.clone().run());
    let posts = document::Document::new(peer.store.clone());
    let waiters = KeyWaiters::new(thread::MAX_WAITERS);
    let slots = stream_slots::StreamSlots::new(config.store.common.rate_limits);
    let api = api::Api {
        store: peer.store.clone(),
        posts,
        waiters: waiters.clone(),
        live,
        slots,
        replica,
        stopping: peer.lifecycle.stopping(),
    };
    // An empty store must catch up with the log first, or readers would see a blog without posts.
    Ok(peer.service(api::router(api, operator), events::QueryEvents { waiters }, Readiness::CaughtUp))
}

/// After an upgrade: computes the excerpts that the migration could not, a few in each transaction.
async fn fill_excerpts(store: &Store) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut filled = 0;
    while store.read(store::lacks_excerpts).await? {
        filled += store.write(Guard::None, store::fill_excerpts).await?;
    }
    if filled > 0 {
        tracing::info!(posts = filled, "computed the excerpts of the posts that had none");
    }
    Ok(())
}
