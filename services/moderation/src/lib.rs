//! The moderation service: approves or rejects comments.
//!
//! [`api`]: HTTP; [`domain`]: the rules; [`events`]: what it does with each event; [`store`]: SQL.

pub mod api;
pub mod domain;
pub mod events;
pub mod store;

use crate::domain::Rules;
use kit::app::StartError;
use kit::app::config::{CommonConfig, PeerConfig, ServiceConfig};
use kit::app::peer::Peer;
use kit::app::service::Service;
use kit::messaging::subscriber::Readiness;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use shared::ServiceName;
use std::path::PathBuf;

/// The settings of moderation.
#[derive(clap::Args, Debug, Clone)]
pub struct Config {
    /// The settings of every peer of the bus.
    #[command(flatten)]
    pub peer: PeerConfig,
    /// File with the rules, in JSON; without one, comments with "orange" are rejected and all others approved.
    #[arg(long, env = "RULES", value_name = "FILE")]
    pub rules: Option<PathBuf>,
}

impl ServiceConfig for Config {
    fn common(&self) -> &CommonConfig {
        self.peer.common()
    }

    fn is_insecure(&self) -> bool {
        self.peer.is_insecure()
    }

    fn validate(&self, name: ServiceName) -> Result<(), StartError> {
        self.peer.validate(name)
    }
}

/// A rules file that is missing or invalid aborts the start, so that nothing is approved by mistake.
pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let rules = match &config.rules {
        None => Rules::default(),
        Some(path) => {
            let bad = |why: String| {
                StartError::Config(format!("cannot use the rules in {}: {why}", path.display()))
            };
            let json = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
            Rules::from_json(&json).map_err(|e| bad(e.to_string()))?
        }
    };
    let peer = Peer::open(ServiceName::Moderation, &config.peer, deps, lifecycle, store::SCHEMA).await?;
    let api = api::Api { store: peer.store.clone(), deps: peer.deps.clone() };
    let router = api::router(api, config.peer.store.operator_token.clone());
    Ok(peer.service(router, events::ModerationEvents { rules }, Readiness::AtOnce))
}
