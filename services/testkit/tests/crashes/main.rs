//! Processes that die between two steps, or whose disk fails: what they have acknowledged is there when they start
//! again, and nothing is there twice.
//!
//! Each test starts this very binary again as the services, with real sockets and real files.

#![allow(clippy::disallowed_methods, reason = "tests use the runtime, its clock and threads directly")]

mod damaged;
mod migrations;
mod points;
mod process;
mod whole;

use kit::app::config::PeerConfig;
use kit::app::service::main;
use shared::ServiceName;
use std::process::ExitCode;

/// Not a test of its own: the process that the tests start. Does nothing unless told to.
#[test]
fn the_process() {
    let Ok(role) = std::env::var(process::ROLE) else { return };
    if role == migrations::ROLE {
        return migrations::open_the_store();
    }
    let name: ServiceName = role.parse().expect("a service");
    let args = [name.as_str().into()];
    let code = match name {
        ServiceName::EventBus => main(name, args, event_bus::build),
        ServiceName::Posts => main::<PeerConfig, _, _>(name, args, posts::build),
        ServiceName::Comments => main::<PeerConfig, _, _>(name, args, comments::build),
        ServiceName::Moderation => main(name, args, moderation::build),
        ServiceName::Query => main::<PeerConfig, _, _>(name, args, query::build),
        ServiceName::Frontend => panic!("it keeps nothing"),
    };
    let number = (0..=2).find(|n| ExitCode::from(*n) == code).unwrap_or(255);
    std::process::exit(number.into());
}
