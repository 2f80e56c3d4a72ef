//! The command line, and what each command does in which order.

use crate::shell::{Shell, run, say};
use crate::{checks, images, mutants, packages, site, tools};
use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Builds, runs and tests mini-blog. Everything that is missing is installed first, and what is there is skipped.
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
    Build,
    /// Run every test: unit, property, service, whole-system, browser and, where containers can run, that of the images
    Test {
        /// Only the tests whose name contains this
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Only the tests of this package (may be given several times); `system-tests` are those that
        /// need the site
        #[arg(long, short, value_name = "NAME")]
        package: Vec<String>,
        /// Flags of the test programs, for example `-- --nocapture`
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<OsString>,
    },
    /// Run the services and let faults befall them (kill -9, cut connections, a full disk, …): prints what held
    Faults(Campaign),
    /// Plant each known bug in a copy of the sources, and see whether the test named for it fails
    Mutants {
        /// Only this one (may be given several times)
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Show what is planted, and try nothing
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
    /// Build the images, run all six as the manifests say, and try what holds: the images themselves, then the tests
    /// of the system. Skipped, with a word, where no container engine can be used
    TestImages {
        /// Only the tests of the system whose name contains this, and nothing else
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
    },
    /// Check format and lints, for this machine and for the browser, then run every test: what CI runs
    Ci,
    /// Install what building and testing need, and do nothing else
    Setup,
    /// Say what building and testing need, and what of it is missing; installs nothing
    CheckTools,
}

/// What the campaign of faults is told; it knows the same flags.
#[derive(Debug, Args)]
struct Campaign {
    /// Where all randomness comes from: the same seed is the same plan [default: a random one, which is printed]
    #[arg(long, value_name = "NUMBER", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// For how many minutes faults befall the system
    #[arg(long, value_name = "MINUTES", default_value = "3", value_parser = minutes, allow_negative_numbers = true)]
    minutes: f64,
    /// Try every planted bug as well, as `cargo xtask mutants` does: a quarter of an hour or more
    #[arg(long)]
    full: bool,
}

/// The most minutes of a campaign: a week.
const MOST_MINUTES: f64 = 7.0 * 24.0 * 60.0;

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "this is no number".to_owned())?;
    let fits = minutes > 0.0 && minutes <= MOST_MINUTES;
    fits.then_some(minutes).ok_or_else(|| format!("must be more than 0 and at most {MOST_MINUTES}"))
}

/// The package of the tests that run the built program and a browser.
const SYSTEM_TESTS: &str = "system-tests";
/// The package of the tests of manifests and Dockerfiles.
const MANIFEST_TESTS: &str = "manifest-tests";
/// The package of the program that tries the images.
const IMAGE_TESTS: &str = "image-tests";
/// Names the built program for those tests.
const PROGRAM_VARIABLE: &str = "MINI_BLOG_BIN";

/// Runs the task. The exit code is that of what it ran last.
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
            build(shell)?;
            let mut up = Command::new(site::program(shell));
            up.current_dir(shell.root()).arg("up").args(flags);
            become_it(&mut up)
        }
        Task::Build => {
            build(shell)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Test { filter, package, flags } => test(shell, filter.as_deref(), &package, &flags),
        Task::Faults(campaign) => {
            site::build_program(shell)?;
            let mut faults = shell.cargo();
            faults.args(["run", "--quiet", "--package", SYSTEM_TESTS, "--bin", "faults", "--"]);
            faults.args(campaign.seed.map(|seed| format!("--seed={seed}")));
            faults.arg(format!("--minutes={}", campaign.minutes));
            faults.env(PROGRAM_VARIABLE, site::program(shell));
            if !campaign.full {
                return become_it(&mut faults);
            }
            let held = faults.status().context("the campaign does not start")?.success();
            let caught = mutants::run_all(shell)?;
            Ok(if held && caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Task::Mutants { only, list } => {
            let chosen = match mutants::choose(mutants::catalogue(shell)?, &only) {
                Ok(chosen) => chosen,
                Err(unknown) => return Ok(wrong_usage(&unknown)),
            };
            if list {
                mutants::list(&chosen);
                return Ok(ExitCode::SUCCESS);
            }
            let caught =
                if only.is_empty() { mutants::run_all(shell)? } else { mutants::run(shell, &chosen)? };
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
        Task::TestImages { filter } => test_images(shell, true, filter.as_deref()),
        // One list of checks for people and machines.
        Task::Ci => become_it(shell.command("bash").arg(".ci/run")),
        Task::Setup => {
            tools::install(shell)?;
            packages::install_browser(shell)?;
            checks::install(shell);
            Ok(ExitCode::SUCCESS)
        }
        Task::CheckTools => {
            let complete = tools::report(shell)? & packages::report_browser(shell);
            Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn build(shell: &Shell) -> Result<()> {
    let wasm_opt = tools::install(shell)?;
    site::build(shell, wasm_opt)?;
    site::build_program(shell)
}

fn test(shell: &Shell, filter: Option<&str>, packages: &[String], flags: &[OsString]) -> Result<ExitCode> {
    let mut tests = shell.cargo();
    // All failures of a run, not the first program's alone.
    tests.args(["test", "--no-fail-fast"]);
    if packages.is_empty() {
        tests.arg("--workspace");
    }
    tests.args(packages.iter().flat_map(|p| ["--package", p.as_str()]));
    let runs = |name| packages.is_empty() || packages.iter().any(|p| p == name);
    if runs(MANIFEST_TESTS) {
        checks::install(shell);
    }
    if runs(SYSTEM_TESTS) {
        // First of all, so that a machine without a browser hears of it before it has built for minutes.
        packages::install_browser(shell)?;
        build(shell)?;
        tests.env(PROGRAM_VARIABLE, site::program(shell));
    }
    tests.args(filter);
    if !flags.is_empty() {
        tests.arg("--").args(flags);
    }
    run("run the tests", &mut tests)?;
    if filter.is_some() || !packages.is_empty() || !flags.is_empty() {
        // Somebody looks for something in particular.
        return Ok(ExitCode::SUCCESS);
    }
    test_images(shell, env::var_os("CI").is_some_and(|ci| !ci.is_empty()), None)
}

/// Tries the images where containers can run; where they cannot, that is said and nothing fails. What only compiling
/// them takes may be missing where nobody has asked for this in particular.
fn test_images(shell: &Shell, asked_for: bool, filter: Option<&str>) -> Result<ExitCode> {
    let skip = |why: &str, e: &anyhow::Error| {
        say(&format!("skipped: the images are not tried, since {why}: {e:#}"));
        Ok(ExitCode::SUCCESS)
    };
    if let Err(e) = packages::install_engine(shell) {
        return skip("no container engine can be used", &e);
    }
    match images::prepare(shell) {
        Err(e) if !asked_for => return skip("they cannot be built here", &e),
        prepared => prepared?,
    };
    packages::install_browser(shell)?;
    let mut tests = shell.cargo();
    tests.args(["run", "--quiet", "--package", IMAGE_TESTS, "--"]);
    become_it(tests.args(filter.map(|text| format!("--filter={text}"))))
}

/// Says what is wrong with the flags as clap says it.
fn wrong_usage(what: &str) -> ExitCode {
    let error = Cli::command().error(ErrorKind::ValueValidation, what);
    // Nothing is left to tell where even this cannot be printed.
    let _ = error.print();
    ExitCode::from(error.exit_code() as u8)
}

/// Ends this process in favour of another: signals and the exit code are that one's.
fn become_it(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
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
            "mutants --only",
        ] {
            let args = ["cargo xtask"].into_iter().chain(args.split_whitespace());
            assert_eq!(Cli::try_parse_from(args.clone()).unwrap_err().exit_code(), 2, "{args:?}");
        }
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
