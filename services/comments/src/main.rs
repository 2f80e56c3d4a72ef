//! Runs the comments service as its own process.

use shared::ServiceName;
use std::process::ExitCode;

fn main() -> ExitCode {
    kit::app::service::main(ServiceName::Comments, std::env::args_os(), comments::build)
}
