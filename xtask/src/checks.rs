//! What is checked without running anything, and the two loops that are made of it: `check`, and what CI runs.

use crate::shell::{Shell, succeed};
use crate::stages::Stages;
use crate::workspace::{Package, Workspace};
use crate::{changed, testing};
use anyhow::Result;
use std::collections::BTreeSet;
use std::process::ExitCode;

const WASM: &str = "wasm32-unknown-unknown";

/// Format, lints and compilation of the whole workspace; then unit and service tests, of all packages or of those that
/// have changed since the main branch.
pub fn check(shell: &Shell, all: bool) -> Result<ExitCode> {
    let workspace = Workspace::read(shell)?;
    let packages = if all {
        workspace.packages.iter().map(|package| package.name.clone()).collect()
    } else {
        changed::packages(shell, &workspace)?
    };
    if packages.is_empty() {
        println!(
            "nothing to check: no package has changed since the main branch (`--all` checks everything)"
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("checking {}", packages.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    let mut stages = Stages::new(4);
    format(shell, &mut stages);
    lints(shell, &mut stages);
    let mut built = Vec::new();
    let compiled = stages.run("compile the tests", "20 s", |_| {
        built = testing::compile(shell)?;
        Ok(())
    });
    if !compiled {
        stages.skip("every test", "they do not compile");
        return Ok(stages.finish());
    }
    let folders: BTreeSet<_> =
        workspace.packages.iter().filter(|p| packages.contains(&p.name)).map(Package::folder).collect();
    let slow = |package: &str| [testing::SYSTEM_TESTS, testing::MANIFEST_TESTS].contains(&package);
    let slow: BTreeSet<_> =
        workspace.packages.iter().filter(|p| slow(&p.name)).map(Package::folder).collect();
    let chosen = built.iter().filter(|program| {
        let folder = program.folder.as_path();
        program.is_test && folders.contains(folder) && !(program.is_integration && slow.contains(folder))
    });
    stages
        .run("units and services", "20 s", |tally| testing::run(chosen, &[], testing::UNITS_AT_ONCE, tally));
    Ok(stages.finish())
}

/// Everything that must hold before a change is merged, the quick stages first.
pub fn ci(shell: &Shell) -> Result<ExitCode> {
    let mut stages = Stages::new(6 + testing::planned(true));
    format(shell, &mut stages);
    deny(shell, &mut stages);
    lints(shell, &mut stages);
    stages.run("lints for the browser", "10 s; the first time 1 min", |_| {
        // `shared` alone, so that no other package adds a feature to it.
        succeed(
            "`shared` does not compile to WebAssembly",
            shell.cargo().args(["check", "--package", "shared", "--target", WASM]),
        )?;
        let mut clippy = shell.cargo();
        clippy.args([
            "clippy",
            "--package",
            "frontend",
            "--lib",
            "--no-default-features",
            "--features",
            "hydrate",
        ]);
        succeed(
            "clippy reported warnings in the code for the browser",
            clippy.args(["--target", WASM, "--", "--deny", "warnings"]),
        )
    });
    stages.run("documentation", "20 s; the first time 1 min", |_| {
        let mut doc = shell.cargo();
        doc.args(["doc", "--workspace", "--no-deps"]);
        succeed("rustdoc reported warnings", doc.env("RUSTDOCFLAGS", "--deny warnings"))
    });
    testing::run_all(shell, &mut stages, true)?;
    Ok(stages.finish())
}

fn format(shell: &Shell, stages: &mut Stages) {
    stages.run("format", "1 s", |_| {
        succeed(
            "formatting check failed: run `cargo fmt --all`",
            shell.cargo().args(["fmt", "--all", "--check"]),
        )
    });
}

fn lints(shell: &Shell, stages: &mut Stages) {
    stages.run("lints", "20 s; the first time 2 min", |_| {
        let mut clippy = shell.cargo();
        clippy.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
        succeed("clippy reported warnings", &mut clippy)
    });
}

/// Licences, sources and versions of all dependencies; known vulnerabilities in them where the database can be fetched.
fn deny(shell: &Shell, stages: &mut Stages) {
    const NAME: &str = "dependencies (cargo deny)";
    const ADVISORIES: &str = "known vulnerabilities";
    if shell.find("cargo-deny").is_none() {
        for stage in [NAME, ADVISORIES] {
            stages
                .skip(stage, "cargo-deny is not installed (`cargo install cargo-deny --locked` installs it)");
        }
        return;
    }
    let deny = |args: &[&str]| succeed("cargo deny failed", shell.cargo().arg("deny").args(args));
    stages.run(NAME, "5 s", |_| deny(&["--offline", "check", "bans", "licenses", "sources"]));
    let fetched =
        shell.cargo().args(["deny", "fetch", "db"]).output().is_ok_and(|output| output.status.success());
    if fetched {
        stages.run(ADVISORIES, "5 s", |_| deny(&["check", "advisories"]));
    } else {
        stages.skip(ADVISORIES, "the database of advisories cannot be fetched");
    }
}
