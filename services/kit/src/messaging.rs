//! Events, from the transaction that causes one to the transaction that applies it.
//!
//! Out: a service writes an event to its [`outbox`] in the transaction of the change; the [`relay`] publishes it to the
//! bus through the [`bus_client`].
//!
//! In: the [`subscriber`] registers with the bus; the [`consumer`] takes deliveries, applies each event once and in
//! order ([`inbox`]), and parks what cannot be applied ([`dead_letters`]).
//!
//! On both sides: [`trace`]; [`signature`] and [`events_body`], which the bus uses too.

pub mod bus_client;
pub mod consumer;
pub mod dead_letters;
pub mod events_body;
pub mod inbox;
pub mod outbox;
pub mod relay;
pub mod signature;
pub mod subscriber;
pub mod trace;
