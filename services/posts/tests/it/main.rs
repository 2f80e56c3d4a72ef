//! The posts service through its real router, with a real store and, where it matters, a real bus.

#![allow(clippy::disallowed_methods, reason = "tests use the runtime, its clock and threads directly")]

mod bad_input;
mod bus;
mod create;
mod events;

use serde_json::Value;
use shared::ServiceName;
use testkit::{Running, World};

async fn start(world: &World) -> Running {
    world.start(world.config(ServiceName::Posts), posts::build).await
}

/// The events that the service has made and not yet brought to the bus.
fn outbox(world: &World) -> Vec<Value> {
    let rows = world.rows(ServiceName::Posts, "SELECT envelope FROM outbox ORDER BY seq");
    let text = |row: &String| serde_json::from_str::<String>(row).unwrap_or_else(|_| panic!("{row}"));
    rows.iter().map(|row| serde_json::from_str(&text(row)).unwrap()).collect()
}
