//! The services together, in one process.
//!
//! - `end_to_end`: random faults between the services; the result is the one of a day without faults.
//! - `atomic_writes`: state, outbox, keys and cursor change together or not at all.
//! - `famous_bugs`: how Microsoft's eShop reference application loses events.
//! - `full_disk`, `torn_store`: a store without space, and one whose last writes are damaged.
//! - `golden_logs`: logs of earlier versions still give the same state.
//! - `released_programs`: what only tests need is in no released program.

mod atomic_writes;
mod end_to_end;
mod famous_bugs;
mod full_disk;
mod golden_logs;
mod released_programs;
mod torn_store;

use shared::ServiceName::{self, Comments, EventBus, Frontend, Moderation, Posts, Query};
use testkit::{Running, World};

/// Starts a service by its name.
async fn start(world: &World, name: ServiceName) -> Running {
    let config = world.config(name);
    match name {
        EventBus => world.start_bus().await,
        Posts => world.start(config, posts::build).await,
        Comments => world.start(config, comments::build).await,
        Moderation => world.start(moderation::Config { peer: config, rules: None }, moderation::build).await,
        Query => world.start(config.into(), query::build).await,
        Frontend => unreachable!("it has no store"),
    }
}
