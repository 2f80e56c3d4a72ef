//! The event bus as a program.

use shared::ServiceName;
use std::process::ExitCode;

fn main() -> ExitCode {
    kit::app::service::main(ServiceName::EventBus, std::env::args_os(), event_bus::build)
}
