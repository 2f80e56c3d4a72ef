//! The frontend's process.

use shared::ServiceName;
use std::process::ExitCode;

fn main() -> ExitCode {
    kit::app::service::main(ServiceName::Frontend, frontend::server::arguments(), frontend::server::build)
}
