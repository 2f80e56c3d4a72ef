//! What the system guarantees: nothing acknowledged is lost, nothing happens twice, each service works while others are
//! down, and all end in the same state.
//!
//! `outages`: services that are down. `stores`: stores that are lost. `events`: repeated, parked and signed events.
//! `shutdown`: the end of a stack, and its environment.

mod events;
mod outages;
mod shutdown;
mod stores;
