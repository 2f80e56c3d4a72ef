//! Builds the site and the program, in release.

use crate::fingerprint;
use crate::shell::{Shell, Steps, read, say, succeed};
use crate::tools::{self, Minifiers};
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// The built site: beside the program, which looks there first. `cargo leptos watch` has a folder of its own, which it
/// empties as it likes.
const SITE: &str = "target/release/site";
/// What the site was built from.
const STAMP: &str = "target/release/site.stamp";
/// Where the WebAssembly bundle is compiled: where cargo-leptos compiles it, too.
const FRONT: &str = "target/front";
/// What building the site prints.
const LOG: &str = "target/site-build.log";
/// Everything that the site is built from.
const SOURCES: [&str; 8] =
    ["frontend", "shared", "style", "public", "xtask/site", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"];

/// The settings of cargo-leptos, in the root `Cargo.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    output_name: String,
    lib_package: String,
    lib_features: Vec<String>,
    lib_profile_release: String,
    style_file: PathBuf,
    assets_dir: PathBuf,
    wasm_opt_features: Vec<String>,
}

/// The built program.
pub fn program(shell: &Shell) -> PathBuf {
    shell.root().join("target/release/mini-blog")
}

/// The folder of the built site.
pub fn folder(shell: &Shell) -> PathBuf {
    shell.root().join(SITE)
}

/// Installs what is missing, and builds the program; the site meanwhile, unless it is up to date. A site builder that was
/// compiled for something else saves compiling another.
pub fn build_all(shell: &Shell, builder: Option<&Path>) -> Result<()> {
    let sources = fingerprint::of(shell.root(), &SOURCES)?;
    // What is installed now makes the site another one.
    let installs = tools::missing(shell);
    let stale = |minifiers: &Minifiers| is_current(shell, sources, minifiers).map(|current| !current);
    let mut steps = Steps::new(installs + 1 + usize::from(installs > 0 || stale(&Minifiers::find(shell))?));
    let minifiers = tools::install(shell, &mut steps)?;
    let missing = minifiers.missing();
    if !missing.is_empty() {
        say(&format!("{} not found (install npm): the site will be larger", missing.join(" and ")));
    }
    if !stale(&minifiers)? {
        steps.next("build the program", "5 s; the first time 4 min on two cores");
        return build_program(shell);
    }
    thread::scope(|scope| {
        steps.next("build the site, in the background", "1 min; the first time 3 min");
        say(&format!("its output is in {LOG}"));
        let site = scope.spawn(|| build_stamped(shell, sources, &minifiers, builder));
        steps.next("build the program", "1 min; the first time 4 min on two cores");
        let program = build_program(shell);
        if !site.is_finished() {
            say("the program is built; waiting for the site");
        }
        let site = site.join().map_err(|_| anyhow!("building the site panicked"))?;
        program.and(site)
    })
}

/// Builds the program: services and pages.
pub fn build_program(shell: &Shell) -> Result<()> {
    let mut build = shell.cargo();
    succeed("the program does not compile", build.args(["build", "--release", "--package", "mini-blog"]))
}

/// Builds the site alone, unless it is up to date.
pub fn build(shell: &Shell) -> Result<()> {
    // Taken before the build: what is edited while it runs is built the next time.
    let sources = fingerprint::of(shell.root(), &SOURCES)?;
    let mut steps = Steps::new(tools::missing(shell) + 1);
    let minifiers = tools::install(shell, &mut steps)?;
    if is_current(shell, sources, &minifiers)? {
        say("the site is up to date");
        return Ok(());
    }
    steps.next("build the site", "1 min; the first time 3 min");
    say(&format!("its output is in {LOG}"));
    build_stamped(shell, sources, &minifiers, None)
}

fn is_current(shell: &Shell, sources: u64, minifiers: &Minifiers) -> Result<bool> {
    let written = fs::read_to_string(shell.root().join(STAMP)).unwrap_or_default();
    Ok(written == stamp_of(shell, sources, minifiers)?)
}

/// What the site was built from and with, and what came of it.
fn stamp_of(shell: &Shell, sources: u64, minifiers: &Minifiers) -> Result<String> {
    let mut text = String::new();
    let results = fingerprint::of(shell.root(), &[SITE])?;
    let compiler = read(shell.command("rustc").arg("--version")).unwrap_or_default();
    let missing = minifiers.missing();
    writeln!(text, "sources {sources:016x}\nresults {results:016x}\nwith {compiler}, without {missing:?}")?;
    Ok(text)
}

fn build_stamped(shell: &Shell, sources: u64, minifiers: &Minifiers, builder: Option<&Path>) -> Result<()> {
    fs::create_dir_all(shell.root().join("target")).context("cannot make the folder target")?;
    let log = File::create(shell.root().join(LOG)).with_context(|| format!("cannot write {LOG}"))?;
    if let Err(e) = make(shell, minifiers, builder, &log) {
        let output = fs::read_to_string(shell.root().join(LOG)).unwrap_or_default();
        bail!("{e:#}\n{output}");
    }
    let stamp = shell.root().join(STAMP);
    fs::write(&stamp, stamp_of(shell, sources, minifiers)?)
        .with_context(|| format!("cannot write {}", stamp.display()))
}

/// Compiles the WebAssembly bundle and the site builder, and builds the site.
fn make(shell: &Shell, minifiers: &Minifiers, builder: Option<&Path>, log: &File) -> Result<()> {
    let settings = settings(shell.root())?;
    let logged = |or_else: &str, command: &mut Command| {
        let (out, err) = (log.try_clone()?, log.try_clone()?);
        succeed(or_else, command.stdout(out).stderr(err))
    };
    let Settings { lib_package, lib_profile_release: profile, output_name, .. } = &settings;
    let mut bundle = shell.cargo();
    bundle
        .args([
            "build",
            "--lib",
            "--target=wasm32-unknown-unknown",
            "--no-default-features",
            "--package",
            lib_package,
        ])
        .args(["--profile", profile, "--features", &settings.lib_features.join(","), "--target-dir", FRONT]);
    logged("the WebAssembly bundle does not compile", &mut bundle)?;
    if builder.is_none() {
        logged(
            "the site builder does not compile",
            shell.cargo().args(["build", "--package", "site-builder"]),
        )?;
    }
    let builder = builder.map_or_else(|| shell.root().join("target/debug/site-builder"), Path::to_owned);
    let wasm = format!("{FRONT}/wasm32-unknown-unknown/{profile}/{}.wasm", lib_package.replace('-', "_"));
    let mut builder = shell.command(builder);
    builder.args(["--wasm", &wasm, "--name", output_name, "--out", SITE]);
    builder.arg("--style").arg(&settings.style_file).arg("--assets").arg(&settings.assets_dir);
    if let Some(esbuild) = &minifiers.esbuild {
        builder.arg("--esbuild").arg(esbuild);
    }
    if let Some(wasm_opt) = &minifiers.wasm_opt {
        builder.arg("--wasm-opt").arg(wasm_opt).arg("--").args(&settings.wasm_opt_features);
    }
    logged("the site builder failed", &mut builder)
}

fn settings(root: &Path) -> Result<Settings> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let mut manifest: toml::Table = manifest.parse().context("cannot read Cargo.toml")?;
    let mut part = manifest.remove("workspace").context("Cargo.toml has no [workspace]")?;
    for key in ["metadata", "leptos"] {
        part = part
            .get_mut(key)
            .map(|part| std::mem::replace(part, toml::Value::Boolean(false)))
            .with_context(|| format!("Cargo.toml has no workspace.{key}"))?;
    }
    let projects: Vec<Settings> = part.try_into().context("cannot read workspace.metadata.leptos")?;
    projects.into_iter().next().context("workspace.metadata.leptos is empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_cargo_leptos_are_read() {
        let shell = Shell::new().unwrap();
        let settings = settings(shell.root()).unwrap();
        assert_eq!((settings.output_name.as_str(), settings.lib_package.as_str()), ("mini-blog", "frontend"));
        assert!(
            shell.root().join(settings.style_file).is_file()
                && shell.root().join(settings.assets_dir).is_dir()
        );
    }
}
