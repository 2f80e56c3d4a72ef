//! Runs the query service as its own process.

use shared::ServiceName;
use std::process::ExitCode;

fn main() -> ExitCode {
    kit::app::service::main(ServiceName::Query, std::env::args_os(), query::build)
}
