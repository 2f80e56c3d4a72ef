//! `cargo xtask`: installs what building needs, builds, runs and tests mini-blog.
//!
//! - [`cli`]: the commands.
//! - [`site`], [`images`]: what is built; [`tools`], [`packages`], [`validators`]: what that takes, installed where it is
//!   missing; [`fingerprint`], [`versions`]: whether it is up to date.
//! - [`checks`], [`testing`]: the loops, with the [`test_servers`], in [`stages`] that are counted and timed, with builds in the [`background`]; [`changed`], [`find_test`],
//!   [`workspace`], [`programs`]: what of the workspace they concern.
//! - [`instructions`]: what the hot paths cost. [`planted_bugs`]: whether the tests can fail; [`leptos`]: whether cargo-leptos makes the same site.
//! - [`shell`]: running other programs.

mod background;
mod changed;
mod checks;
mod cli;
mod find_test;
mod fingerprint;
mod images;
mod instructions;
mod leptos;
mod packages;
mod planted_bugs;
mod programs;
mod shell;
mod site;
mod stages;
mod test_servers;
mod testing;
mod tools;
mod validators;
mod versions;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
