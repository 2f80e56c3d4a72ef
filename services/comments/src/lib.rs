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
use kit::runtime::key_waiters::KeyWaiters;
use kit::runtime::lifecycle::Lifecycle;
use shared::ServiceName;

pub type Config = PeerConfig;

/// How many comments may wait for their post at the same time; one more is refused at once if the post is unknown.
const MAX_WAITERS: usize = 1_024;

pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let https = config.store.common.is_https();
    let authors = AuthorTokens::new(config.secret.as_ref(), deps.ids.as_ref());
    let peer = Peer::open(ServiceName::Comments, &config, deps, lifecycle, store::SCHEMA).await?;
    let waiters = KeyWaiters::new(MAX_WAITERS);
    if peer.store.is_shared() {
        // The event of a post may have been applied by another replica.
        let (waiters, mut committed) = (waiters.clone(), peer.store.committed());
        let stopping = peer.lifecycle.stopping();
        peer.lifecycle.spawn("waiters", async move {
            while let Some(Ok(())) = stopping.run_until_cancelled(committed.changed()).await {
                waiters.wake_all();
            }
            stopping.cancelled().await;
        });
    }
    let events = events::CommentEvents { waiters: waiters.clone() };
    let api = api::Api { store: peer.store.clone(), deps: peer.deps.clone(), waiters, authors, https };
    Ok(peer.service(api::router(api), events, Readiness::AtOnce))
}
