//! The command line, and what each command does in which order.

use crate::shell::{Shell, Steps, exec, say};
use crate::stages::Stages;
use crate::testing::{self, PROGRAM_VARIABLE, SYSTEM_TESTS};
use crate::{checks, images, instructions, packages, planted_bugs, site, test_servers, tools, validators};
use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{self, PathBuf};
use std::process::{Command, ExitCode};

/// Builds, runs and tests mini-blog. What is missing is installed first.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build everything in release and run it: prints the address when all is ready, Ctrl-C stops it
    Up {
        /// Flags of `mini-blog up`, for example `-- --without moderation`
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<OsString>,
    },
    /// Build everything in release: the site into target/release/site, the program target/release/mini-blog
    Build {
        /// The program that builds the site, where it is built already
        #[arg(long, hide = true, value_name = "FILE")]
        site_builder: Option<PathBuf>,
    },
    /// Check the format and lint everything, and test (units and services, not the system) the packages that have
    /// changed since the main branch, committed or not
    Check {
        /// Test all packages, not only the changed ones
        #[arg(long)]
        all: bool,
    },
    /// Run the tests: units, services, manifests, the whole system, a real browser (not containers, the fault
    /// campaign, or the comparison with cargo-leptos)
    Test {
        /// Also two minutes of random faults, the container images, and whether cargo-leptos builds an identical site
        #[arg(long, conflicts_with_all = ["filter", "package", "flags"])]
        all: bool,
        /// Only the tests whose name contains this; nothing but what they need is built
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Only the tests of this package (may be given several times); `system-tests` are those that run the built program
        #[arg(long, short, value_name = "NAME")]
        package: Vec<String>,
        /// Flags of the test programs, for example `-- --nocapture`; only with --filter or --package
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<OsString>,
    },
    /// Run the services under random faults (kill -9, cut connections, a full disk, …), and report which guarantees held
    Faults(Campaign),
    /// Measure the release build, each figure beside a ceiling taken in the same run, and print the table
    Bench(Bench),
    /// Attack the release build, which has the memory of the Kubernetes manifests, and print how long a visitor waited
    /// meanwhile: fails where it was half a second or more. For a machine that does nothing else
    Abuse,
    /// Count the instructions of the hot paths, and compare them with the recorded numbers
    Instructions {
        /// Record the numbers instead
        #[arg(long)]
        record: bool,
    },
    /// Plant each known bug in a copy of the sources, and check that the test named for it fails
    PlantedBugs {
        /// Only this one (may be given several times)
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// List the bugs without running anything
        #[arg(long)]
        list: bool,
    },
    /// Build everything that container images are made of, static and in release, into target/images
    ImageFiles,
    /// Build the container image of one service from what this machine compiles (needs Docker)
    Image {
        /// Which one: event-bus, posts, comments, moderation, query or frontend
        service: String,
    },
    /// Build the images, run all six with the settings of the Kubernetes manifests, and test them: the images themselves, then the whole system.
    /// Skipped, with the reason, where no container engine can be used
    TestImages {
        /// Only the tests of the system whose name contains this, and nothing else
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
    },
    /// Everything that must hold before a change is merged: what CI runs
    Ci,
    /// Install what building and testing need, and do nothing else
    Setup {
        /// Install `cargo leptos` and wasm-bindgen instead, which work on the frontend needs
        #[arg(long)]
        leptos: bool,
    },
    /// Print what building and testing need, and what of it is missing; installs nothing
    CheckTools,
}

/// The flags of the campaign of faults. `--seed` and `--minutes` go to the program `faults`; `--full` is xtask's alone.
#[derive(Debug, Args)]
struct Campaign {
    /// The seed of all randomness: the same seed and minutes give the same sequence of faults [default: a random one, which is printed]
    #[arg(long, value_name = "NUMBER", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// How many minutes of faults
    #[arg(long, value_name = "MINUTES", default_value = "3", value_parser = minutes, allow_negative_numbers = true)]
    minutes: f64,
    /// Try every planted bug as well, as `cargo xtask planted-bugs` does: a quarter of an hour or more
    #[arg(long)]
    full: bool,
}

/// The flags of the benchmark, which go to the program `bench`.
#[derive(Debug, Args)]
struct Bench {
    /// About two minutes of measuring instead of half an hour
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of the table, which then goes to the standard error
    #[arg(long)]
    json: bool,
    /// Print what has changed since the run of which this file has the JSON
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Other flags of the program, for example `-- --only reads` or `-- --posts 200000 --comments 3000000`
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<OsString>,
}

/// The most minutes of a campaign: a week.
const MOST_MINUTES: f64 = 7.0 * 24.0 * 60.0;

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    let fits = minutes > 0.0 && minutes <= MOST_MINUTES;
    fits.then_some(minutes).ok_or_else(|| format!("must be more than 0 and at most {MOST_MINUTES}"))
}

/// Runs the task. Where another program does the work, the exit code is that program's.
pub fn main() -> ExitCode {
    let task = Cli::parse().task;
    match Shell::new().and_then(|shell| perform(task, &shell)) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task, shell: &Shell) -> Result<ExitCode> {
    match task {
        Task::Up { flags } => {
            site::build_all(shell, None)?;
            let mut up = Command::new(site::program(shell));
            up.current_dir(shell.root()).arg("up").args(flags);
            exec(&mut up)
        }
        Task::Build { site_builder } => {
            site::build_all(shell, site_builder.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Check { all } => checks::check(shell, all),
        Task::Test { filter: None, package, flags, all } if package.is_empty() => {
            if !flags.is_empty() {
                return Ok(wrong_usage("flags of the test programs go with --filter or --package"));
            }
            let mut stages = Stages::new(testing::planned(all));
            testing::run_all(shell, &mut stages, all)?;
            Ok(stages.finish())
        }
        Task::Test { filter, package, flags, .. } => {
            testing::run_some(shell, filter.as_deref(), &package, &flags)
        }
        Task::Faults(campaign) => {
            site::build_program(shell)?;
            let mut faults = shell.cargo();
            faults.args(["run", "--quiet", "--package", SYSTEM_TESTS, "--bin", "faults", "--"]);
            faults.args(campaign.seed.map(|seed| format!("--seed={seed}")));
            faults.arg(format!("--minutes={}", campaign.minutes));
            faults.env(PROGRAM_VARIABLE, site::program(shell));
            if !campaign.full {
                return exec(&mut faults);
            }
            let held = faults.status().context("the campaign does not start")?.success();
            let caught = planted_bugs::run_all(shell)?;
            Ok(if held && caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Task::Bench(bench) => {
            site::build_all(shell, None)?;
            if let Err(e) = packages::install_load_generator(shell) {
                say(&format!("the rows that take it will be skipped: {e:#}"));
            }
            let mut program = shell.cargo();
            program.args(["run", "--quiet", "--release", "--package", SYSTEM_TESTS, "--bin", "bench", "--"]);
            program.args(bench.quick.then_some("--quick")).args(bench.json.then_some("--json"));
            if let Some(file) = bench.compare {
                // The program runs in the root of the repository.
                program.arg("--compare").arg(path::absolute(&file).context("the file to compare with")?);
            }
            program.args(bench.flags).env(PROGRAM_VARIABLE, site::program(shell));
            exec(&mut program)
        }
        Task::Abuse => {
            site::build_all(shell, None)?;
            let mut tests = shell.cargo();
            // One after the other: two attacks at the same time would be a third one.
            tests.args(["test", "--quiet", "--package", SYSTEM_TESTS, "--test", "abuse", "--"]);
            tests.args(["--nocapture", "--test-threads=1"]);
            tests.env(PROGRAM_VARIABLE, site::program(shell)).env("VISITOR_WAITS_MS", "500");
            exec(&mut tests)
        }
        Task::PlantedBugs { only, list } => {
            let chosen = match planted_bugs::choose(planted_bugs::catalogue(shell)?, &only) {
                Ok(chosen) => chosen,
                Err(unknown) => return Ok(wrong_usage(&unknown)),
            };
            if list {
                planted_bugs::list(&chosen);
                return Ok(ExitCode::SUCCESS);
            }
            let caught = if only.is_empty() {
                planted_bugs::run_all(shell)?
            } else {
                planted_bugs::run(shell, &chosen)?
            };
            Ok(if caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Task::ImageFiles => {
            images::files(shell)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Image { service } => {
            images::build(shell, &service)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::TestImages { filter } => testing::run_images(shell, filter.as_deref()),
        Task::Ci => checks::ci(shell),
        Task::Setup { leptos: true } => {
            tools::install_leptos(shell)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Setup { leptos: false } => {
            tools::install(shell, &mut Steps::new(tools::missing(shell)))?;
            packages::install_browser(shell)?;
            let servers = test_servers::install(shell);
            for what in validators::install(shell).into_iter().chain(servers) {
                eprintln!("cannot be tested: {what}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Instructions { record } => {
            instructions::run_all(shell, record)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::CheckTools => {
            let complete = tools::report(shell)? & packages::report(shell);
            Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Prints what is wrong with the flags as clap prints it.
fn wrong_usage(what: &str) -> ExitCode {
    let error = Cli::command().error(ErrorKind::ValueValidation, what);
    // Where even this cannot be printed, the exit code is all there is.
    let _ = error.print();
    ExitCode::from(error.exit_code() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_behind_two_dashes_are_passed_on() {
        let cli = Cli::try_parse_from(["cargo xtask", "up", "--", "--without", "query"]).unwrap();
        let Task::Up { flags } = cli.task else { panic!("not up") };
        assert_eq!(flags, ["--without", "query"]);
    }

    #[test]
    fn wrong_usage_exits_with_two() {
        for args in [
            "",
            "up --what",
            "what",
            "faults --seed x",
            "faults --seed -1",
            "faults --what",
            "faults 3",
            "planted-bugs --only",
            "test --all --filter x",
        ] {
            let args = ["cargo xtask"].into_iter().chain(args.split_whitespace());
            assert_eq!(Cli::try_parse_from(args.clone()).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn the_flags_of_the_benchmark_are_read() {
        let line = "bench --quick --json --compare before.json -- --only reads";
        let cli = Cli::try_parse_from(["cargo xtask"].into_iter().chain(line.split(' '))).unwrap();
        let Task::Bench(bench) = cli.task else { panic!("not bench") };
        assert!(bench.quick && bench.json);
        assert_eq!(bench.compare.unwrap().to_str(), Some("before.json"));
        assert_eq!(bench.flags, ["--only", "reads"]);
    }

    #[test]
    fn a_campaign_lasts_some_time() {
        let read = |minutes: &str| Cli::try_parse_from(["cargo xtask", "faults", "--minutes", minutes]);
        for minutes in ["0", "-1", "-0.5", "NaN", "inf", "three", "", "1e9"] {
            let error = read(minutes).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{minutes:?}");
            assert!(error.to_string().contains("--minutes"), "{error}");
        }
        for minutes in ["0.5", "20"] {
            assert!(matches!(read(minutes).unwrap().task, Task::Faults(_)));
        }
    }
}
