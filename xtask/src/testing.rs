//! Running the tests: all of them in stages, or those of a name or a package.

use crate::background::Background;
use crate::find_test::{self, Part, Program};
use crate::programs::{self, Built};
use crate::shell::{Shell, exec, is_ci, line, say};
use crate::stages::{Stages, Tally, count};
use crate::test_servers::{self, TestServers};
use crate::workspace::Workspace;
use crate::{images, instructions, leptos, packages, site, tools, validators};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{Write, stdout};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// The package of the tests that run the built program and a browser.
pub const SYSTEM_TESTS: &str = "system-tests";
/// The package of the tests of manifests and Dockerfiles.
pub const MANIFEST_TESTS: &str = "manifest-tests";
/// The package of the program that tests the images.
pub const IMAGE_TESTS: &str = "image-tests";
/// The program that makes the site.
const SITE_BUILDER: &str = "site-builder";
/// Names the built program for the tests of the system.
pub const PROGRAM_VARIABLE: &str = "MINI_BLOG_BIN";
/// The test program that takes a browser, and the one that runs a campaign of faults.
const BROWSER: &str = "browser";
const CAMPAIGN: &str = "faults";

/// How many programs of unit and service tests run at the same time.
pub const UNITS_AT_ONCE: usize = 4;
/// How many programs of system tests run at the same time: each of their tests runs six processes.
const STACKS_AT_ONCE: usize = 2;

const INSTRUCTIONS_STAGE: &str = "instruction counts";
const CAMPAIGN_STAGE: &str = "campaign of faults";
const LEPTOS_STAGE: &str = "cargo-leptos builds an identical site";

/// How many stages [`run_all`] has.
pub fn planned(all: bool) -> usize {
    if all { 10 } else { 6 }
}

/// Compiles every test of the workspace.
pub fn compile(shell: &Shell) -> Result<Vec<Built>> {
    programs::build(shell.cargo().args(["build", "--workspace", "--all-targets"]))
}

/// Every test that a machine can run without root; with `all`, also the campaign of faults, the containers, and whether
/// cargo-leptos makes the same site.
pub fn run_all(shell: &Shell, stages: &mut Stages, all: bool) -> Result<()> {
    let workspace = Workspace::read(shell)?;
    let mut built = Vec::new();
    let compiled = stages.run("compile the tests", "30 s; the first time 5 min", |_| {
        built = compile(shell)?;
        Ok(())
    });
    if !compiled {
        stages.skip("every test", "they do not compile");
        return Ok(());
    }
    let of = |package: &str| -> Vec<&Built> {
        let folder = workspace.packages.iter().find(|p| p.name == package).map(|p| p.folder().to_owned());
        built.iter().filter(|b| b.is_test && Some(&b.folder) == folder.as_ref()).collect()
    };
    let (manifests, system) = (of(MANIFEST_TESTS), of(SYSTEM_TESTS));
    let needs_system = |b: &Built| b.is_integration && system.iter().any(|s| s.file == b.file);
    let others = |b: &&Built| b.is_test && !needs_system(b) && manifests.iter().all(|m| m.file != b.file);
    let program_of = |name: &str| built.iter().find(|b| b.name == name && !b.is_test);
    let builder = program_of(SITE_BUILDER).map(|b| b.file.as_path());
    let release = all.then(|| {
        let builder = builder.into_iter().flat_map(|file| [OsStr::new("--site-builder"), file.as_os_str()]);
        Background::start(shell, "build", builder)
    });
    let mut servers = TestServers::default();
    stages.run("units and services", "30 s", |tally| {
        servers = test_servers::start(shell)?;
        run(built.iter().filter(others), &servers.environment(), UNITS_AT_ONCE, tally)
    });
    for what in &servers.missing {
        stages.skip_part(what);
    }

    let untested = validators::install(shell);
    stages.run("manifests", "20 s", |tally| {
        if is_ci() && !untested.is_empty() {
            bail!("CI is set, and what the tests take is missing: {}", untested.join("; "));
        }
        run(manifests.iter().copied(), &[], 1, tally)
    });
    for what in &untested {
        stages.skip_part(what);
    }

    let ready = stages.run("program and site", "5 s; the first time 5 min", |_| match release {
        Some(build) => build?.end(),
        None => site::build_all(shell, builder),
    });
    let mut environment = servers.environment();
    environment.push((PROGRAM_VARIABLE, site::program(shell).into()));
    let of_system = |chosen: &dyn Fn(&str) -> bool| -> Vec<&Built> {
        system.iter().copied().filter(|b| b.is_integration && chosen(&b.name)).collect()
    };
    if !ready {
        let rest = ["system", "browser", INSTRUCTIONS_STAGE, CAMPAIGN_STAGE, LEPTOS_STAGE, "containers"];
        for stage in &rest[..if all { rest.len() } else { 2 }] {
            stages.skip(stage, "the program is not built");
        }
        return Ok(());
    }
    let rest = of_system(&|name| name != BROWSER && name != CAMPAIGN);
    stages.run("system", "1 min", |tally| run(rest, &environment, STACKS_AT_ONCE, tally));
    // Both may run the package manager, which runs only once at a time.
    let browser = packages::install_browser(shell);
    let images = all.then(|| {
        let start = || images::prepare(shell).and_then(|_| Background::start(shell, "image-files", [""; 0]));
        packages::install_engine(shell).map(|()| start())
    });
    match &browser {
        Err(e) if !is_ci() => stages.skip("browser", &format!("{e:#}")),
        _ => {
            stages.run("browser", "40 s", |tally| {
                browser?;
                run(of_system(&|name| name == BROWSER), &environment, 1, tally)
            });
        }
    }
    if !all {
        stages.skip_part("campaign of faults, containers, comparison with cargo-leptos: `cargo xtask test --all` runs them");
        return Ok(());
    }
    match packages::install_counter(shell) {
        Err(e) if !is_ci() || !packages::can_install(shell) => {
            stages.skip(INSTRUCTIONS_STAGE, &format!("{e:#}"));
        }
        counter => {
            stages.run(INSTRUCTIONS_STAGE, "40 s", |_| {
                counter?;
                instructions::run_all(shell, false)
            });
        }
    }
    let campaign = of_system(&|name| name == CAMPAIGN);
    stages.run(CAMPAIGN_STAGE, "2 min", |tally| run(campaign, &environment, 1, tally));
    match tools::missing_for_leptos(shell)? {
        Some(missing) => stages.skip(LEPTOS_STAGE, &missing),
        None => {
            stages.run(LEPTOS_STAGE, "1 min", |_| leptos::makes_the_same(shell));
        }
    }
    match images {
        None => {}
        Some(Err(e)) => stages.skip("containers", &format!("no container engine can be used: {e:#}")),
        Some(Ok(files)) => {
            stages.run("containers", "3 min; the first time 5 min", |tally| {
                files?.end()?;
                packages::install_browser(shell)?;
                let mut tests = image_tests(shell, &built)?;
                count(&mut tests, tally, &mut stdout().lock())
            });
        }
    }
    Ok(())
}

/// Runs test programs with these variables, `at_once` of them at the same time: most of what they do is wait. All are run, whatever fails. What
/// one prints appears in one piece, with how long it took.
pub fn run<'a>(
    programs: impl IntoIterator<Item = &'a Built>,
    environment: &[(&str, OsString)],
    at_once: usize,
    tally: &mut Tally,
) -> Result<()> {
    let mut programs: Vec<_> = programs.into_iter().collect();
    // An empty run must not pass.
    ensure!(!programs.is_empty(), "no test program was built");
    // The last ones should be short; those within the sources are.
    programs.sort_by_key(|program| !program.is_integration);
    let (waiting, ended) = (Mutex::new(programs.into_iter()), Mutex::new((tally, Vec::new())));
    let run_one_by_one = || {
        while let Some(program) = next(&waiting) {
            let mut command = Command::new(&program.file);
            command.current_dir(&program.folder).envs(environment.iter().map(|(name, value)| (name, value)));
            let (begun, mut its_tally, mut output) = (Instant::now(), Tally::default(), Vec::new());
            let result = count(&mut command, &mut its_tally, &mut output);
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            println!(
                "     Ran {} in {:.1} s ({})",
                program.name,
                begun.elapsed().as_secs_f64(),
                line(&command)
            );
            // Where nobody reads, the tests still run to their end.
            let _ = stdout().write_all(&output);
            ended.0.add(its_tally);
            if let Err(e) = result {
                ended.1.push(format!("{e:#}"));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(run_one_by_one);
        }
    });
    let (_, errors) = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    if errors.is_empty() { Ok(()) } else { bail!(errors.join("; ")) }
}

fn next<'a>(waiting: &Mutex<impl Iterator<Item = &'a Built>>) -> Option<&'a Built> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// The tests of this name, of these packages, or both. Nothing but what they need is compiled.
pub fn run_some(
    shell: &Shell,
    filter: Option<&str>,
    packages: &[String],
    flags: &[OsString],
) -> Result<ExitCode> {
    let workspace = Workspace::read(shell)?;
    let wanted = |program: &Program| packages.is_empty() || packages.contains(&program.package);
    let mut found: BTreeSet<_> = match filter {
        Some(text) => find_test::holding(&workspace, text)?,
        None => BTreeSet::new(),
    };
    found.retain(wanted);
    if filter.is_some() && found.is_empty() {
        bail!("no test has a name that contains {:?}", filter.unwrap_or_default());
    }
    let of = |package: &str| {
        packages.iter().any(|p| p == package) || found.iter().any(|program| program.package == package)
    };
    if of(MANIFEST_TESTS) {
        for what in validators::install(shell) {
            say(&format!("not tested: {what}"));
        }
    }
    // The tests within its sources take neither the program nor a browser.
    let of_system = found.iter().filter(|program| program.package == SYSTEM_TESTS);
    let mut of_system = of_system.filter_map(|program| match &program.part {
        Part::Tests(name) => Some(name.as_str()),
        _ => None,
    });
    let whole = filter.is_none() && packages.iter().any(|p| p == SYSTEM_TESTS);
    let mut environment = Vec::new();
    if whole || of_system.clone().next().is_some() {
        if whole || of_system.any(|name| name == BROWSER) {
            // First of all, so that a machine without a browser reports it before it has built for minutes.
            packages::install_browser(shell)?;
        }
        site::build_all(shell, None)?;
        environment.push((PROGRAM_VARIABLE, site::program(shell)));
    }
    let selections: Vec<Vec<String>> = if filter.is_some() {
        found.iter().map(|program| program.cargo_args(&workspace)).collect()
    } else {
        vec![packages.iter().flat_map(|p| ["--package".to_owned(), p.clone()]).collect()]
    };
    let mut passed = true;
    for selection in selections {
        let mut tests = shell.cargo();
        // All failures of a run, not the first program's alone.
        tests.args(["test", "--no-fail-fast"]).args(selection).args(filter).envs(environment.clone());
        if !flags.is_empty() {
            tests.arg("--").args(flags);
        }
        passed &= tests.status().context("cannot run cargo")?.success();
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the images and tests them, where containers can run.
pub fn run_images(shell: &Shell, filter: Option<&str>) -> Result<ExitCode> {
    if let Err(e) = packages::install_engine(shell) {
        if is_ci() {
            return Err(e);
        }
        say(&format!("skipped: no container engine can be used: {e:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    images::prepare(shell)?;
    packages::install_browser(shell)?;
    let mut tests = image_tests(shell, &compile(shell)?)?;
    exec(tests.args(filter.map(|text| format!("--filter={text}"))))
}

/// The program that tests the images, with those of the system tests, which it runs against them.
fn image_tests(shell: &Shell, built: &[Built]) -> Result<Command> {
    let program = built.iter().find(|b| b.name == IMAGE_TESTS && !b.is_test);
    let program = program.context("the program that tests the images is not built")?;
    let system = built.iter().find(|b| b.name == BROWSER && b.is_integration);
    let folder = &system.context("the system tests are not built")?.folder;
    let mut tests = shell.command(&program.file);
    tests.args(built.iter().filter(|b| b.is_integration && b.folder == *folder).map(|b| &b.file));
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_stage_without_a_test_program_fails() {
        let mut tally = Tally::default();
        assert!(run([], &[], 1, &mut tally).is_err());
        let file = |name: &str| Built {
            name: name.to_owned(),
            is_integration: false,
            is_test: true,
            file: Path::new("/bin").join(name),
            folder: Path::new("/").to_owned(),
        };
        // One program reports nothing, one fails: both are run, and both are errors.
        let [silent, red] = ["true", "false"].map(file);
        for at_once in [1, 2] {
            let error = run([&red, &silent], &[], at_once, &mut tally).unwrap_err().to_string();
            assert!(error.contains("false") && error.contains("no test results"), "{error}");
        }
    }
}
