//! Processes that die between two steps, or whose disk fails: what they have acknowledged is stored when they start
//! again, and nothing is stored twice.
//!
//! - `points`: one test for each crash point. `migrations`: a crash in the middle of one. `damaged`: damaged files.
//! - `end_to_end`: the whole system, while each process dies in turn.
//!
//! Each test starts this binary again as the services, with real sockets and files.

#![allow(clippy::disallowed_methods, reason = "tests use the runtime, its clock and threads directly")]

mod damaged;
mod end_to_end;
mod migrations;
mod points;
mod process;

use kit::app::config::PeerConfig;
use kit::app::service::main;
use shared::ServiceName;
use std::process::ExitCode;

/// The process that the tests start; in a normal run of the tests it does nothing.
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
        ServiceName::Query => main(name, args, query::build),
        ServiceName::Frontend => panic!("it has no store"),
    };
    let number = (0..=2).find(|n| ExitCode::from(*n) == code).unwrap_or(255);
    std::process::exit(number.into());
}
