//! Runs the moderation service as its own process.

use shared::ServiceName;
use std::process::ExitCode;

fn main() -> ExitCode {
    kit::app::service::main(ServiceName::Moderation, std::env::args_os(), moderation::build)
}
