//! Runs the posts service as its own process.

use shared::ServiceName;
use std::process::ExitCode;

fn main() -> ExitCode {
    kit::app::service::main(ServiceName::Posts, std::env::args_os(), posts::build)
}
