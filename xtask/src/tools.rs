//! The tools that building the site needs: looked for, installed where they are missing.

use crate::packages;
use crate::shell::{Shell, read, run, say};
use crate::versions::{locked, printed};
use anyhow::{Result, bail};

/// What the browser's half is compiled for.
const TARGET: &str = "wasm32-unknown-unknown";
/// Newer ones need a newer compiler.
const CARGO_LEPTOS: &str = "0.3.9";
/// Older ones refuse what today's compiler writes.
const OLDEST_WASM_OPT: u32 = 123;
/// Writes the list of a program's dependencies into it, for scanners.
const CARGO_AUDITABLE: &str = "0.7.7";
/// The npm package that brings `wasm-opt`.
const BINARYEN: &str = "binaryen@132";
/// The tools run for seconds and are compiled for minutes: compiling fast matters more than running fast.
const QUICK_BUILD: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

/// How the wasm is made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmOpt {
    /// A `wasm-opt` that can do it is there.
    Here,
    /// There is none: the build downloads its own, where it can.
    Downloaded,
    /// There is one, and it is too old: the build must not find it.
    TooOld,
}

/// A program that comes from crates.io.
struct CargoTool {
    /// The program.
    program: &'static str,
    /// The package that holds it.
    package: &'static str,
    /// The one version that fits.
    version: String,
    /// Whether its own lock file is used. Not for wasm-bindgen-cli: the library it must match is newer than what
    /// its lock file was tried with.
    locked: bool,
}

fn cargo_tools(shell: &Shell) -> Result<[CargoTool; 2]> {
    let leptos = CargoTool {
        program: "cargo-leptos",
        package: "cargo-leptos",
        version: CARGO_LEPTOS.to_owned(),
        locked: true,
    };
    let bindgen = CargoTool {
        program: "wasm-bindgen",
        package: "wasm-bindgen-cli",
        version: locked(shell.root(), "wasm-bindgen")?,
        locked: false,
    };
    Ok([bindgen, leptos])
}

/// Installs what images need beyond the site's tools.
pub fn install_for_images(shell: &Shell, target: &str) -> Result<()> {
    install_target(shell, target)?;
    packages::install_musl(shell)?;
    install_auditable(shell)
}

/// Installs cargo-auditable for this workspace alone. It does not say which version it is; cargo knows.
fn install_auditable(shell: &Shell) -> Result<()> {
    let root = shell.tools_dir();
    let list = read(shell.cargo().args(["install", "--list", "--root"]).arg(&root)).unwrap_or_default();
    let wanted = format!("cargo-auditable v{CARGO_AUDITABLE}:");
    if list.lines().any(|line| line == wanted) {
        say(&format!("cargo-auditable {CARGO_AUDITABLE} is there"));
        return Ok(());
    }
    let mut install = shell.cargo();
    install
        .args(["install", "cargo-auditable", "--version", CARGO_AUDITABLE, "--locked", "--root"])
        .arg(&root);
    install.envs(QUICK_BUILD).env_remove("CARGO_TARGET_DIR");
    run(&format!("install cargo-auditable {CARGO_AUDITABLE} (takes a minute, once)"), &mut install)
}

/// Installs what is missing.
pub fn install(shell: &Shell) -> Result<WasmOpt> {
    install_target(shell, TARGET)?;
    for tool in cargo_tools(shell)? {
        tool.install(shell)?;
    }
    Ok(install_wasm_opt(shell))
}

/// Says what is there and what is not. True where nothing is missing.
pub fn report(shell: &Shell) -> Result<bool> {
    let mut complete = has_target(shell, TARGET);
    say(&format!("{TARGET}: {}", if complete { "there" } else { "missing" }));
    for tool in cargo_tools(shell)? {
        let found = tool.found(shell);
        let right = found.as_deref() == Some(&tool.version);
        complete &= right;
        let state = match found {
            Some(_) if right => "there".to_owned(),
            Some(other) => format!("missing (there is {other}, which does not fit)"),
            None => "missing".to_owned(),
        };
        say(&format!("{} {}: {state}", tool.program, tool.version));
    }
    say(match wasm_opt(shell) {
        WasmOpt::Here => "wasm-opt: there",
        WasmOpt::Downloaded => "wasm-opt: not there; the build downloads it where it can, or goes without",
        WasmOpt::TooOld => "wasm-opt: too old; npm brings a newer one, or the build goes without",
    });
    Ok(complete)
}

fn has_target(shell: &Shell, target: &str) -> bool {
    let libraries = read(shell.command("rustc").args(["--print", "target-libdir", "--target", target]));
    libraries.is_some_and(|dir| std::path::Path::new(&dir).is_dir())
}

fn install_target(shell: &Shell, target: &str) -> Result<()> {
    if has_target(shell, target) {
        say(&format!("{target} is there"));
        return Ok(());
    }
    if shell.find("rustup").is_none() {
        bail!("the target {target} is missing, and there is no rustup to add it: see https://rustup.rs");
    }
    run("add a target", shell.command("rustup").args(["target", "add", target]))
}

impl CargoTool {
    /// The version that is there.
    fn found(&self, shell: &Shell) -> Option<String> {
        let program = shell.find(self.program)?;
        printed(&read(shell.command(program).arg("--version"))?).map(str::to_owned)
    }

    fn install(&self, shell: &Shell) -> Result<()> {
        let Self { program, package, version, locked } = self;
        let found = self.found(shell);
        if found.as_deref() == Some(version) {
            say(&format!("{program} {version} is there"));
            return Ok(());
        }
        if *package == "cargo-leptos" {
            // It compiles OpenSSL from source.
            packages::install_openssl_build(shell)?;
        }
        let mut install = shell.cargo();
        install
            .args(["install", package, "--version", version])
            .envs(QUICK_BUILD)
            .env_remove("CARGO_TARGET_DIR");
        if *locked {
            install.arg("--locked");
        }
        if let Some(other) = found {
            // What somebody else may need is not replaced.
            say(&format!("there is {program} {other}; {version} is installed beside it, into target/tools"));
            install.arg("--root").arg(shell.tools_dir());
        }
        run(&format!("install {program} {version} (takes minutes, once)"), &mut install)?;
        if self.found(shell).as_deref() != Some(version) {
            let home = shell
                .cargo_home()
                .map_or_else(String::new, |home| format!(" (installed into {})", home.display()));
            bail!("{program} {version} was installed and is not found{home}");
        }
        Ok(())
    }
}

fn wasm_opt(shell: &Shell) -> WasmOpt {
    let Some(program) = shell.find("wasm-opt") else { return WasmOpt::Downloaded };
    let text = read(shell.command(program).arg("--version")).unwrap_or_default();
    match printed(&text).and_then(|version| version.parse::<u32>().ok()) {
        Some(version) if version >= OLDEST_WASM_OPT => WasmOpt::Here,
        _ => WasmOpt::TooOld,
    }
}

/// Installs `wasm-opt` where npm can. Nothing fails without it: the wasm is only larger.
fn install_wasm_opt(shell: &Shell) -> WasmOpt {
    let found = wasm_opt(shell);
    if found == WasmOpt::Here {
        say("wasm-opt is there");
    } else if shell.find("npm").is_some() {
        let mut npm = shell.command("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
            .arg(shell.tools_dir())
            .arg(BINARYEN);
        if let Err(e) = run("install wasm-opt", &mut npm) {
            say(&format!("{e}; going on without"));
        }
    } else {
        say(
            "wasm-opt is not there, and neither is npm to install it: the build downloads it, or goes without",
        );
    }
    wasm_opt(shell)
}
