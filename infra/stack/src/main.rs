//! The binary `mini-blog`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mini_blog::cli::run(std::env::args_os())
}
