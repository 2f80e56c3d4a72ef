//! `cargo xtask`: installs what building needs, builds, runs and tests mini-blog.

mod checks;
mod cli;
mod fingerprint;
mod images;
mod mutants;
mod packages;
mod shell;
mod site;
mod tools;
mod versions;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
