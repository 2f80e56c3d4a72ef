//! Building the site and the program, in release.

use crate::fingerprint;
use crate::shell::{Shell, read, run, say};
use crate::tools::WasmOpt;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where the built site stands: beside the program, which looks there first. `cargo leptos watch` has a folder of
/// its own, which it empties as it likes.
const SITE: &str = "target/release/site";
/// Where cargo-leptos writes the hashes that stand in the names of the site's files: beside the program.
const HASHES: &str = "target/release/hash.txt";
/// Says what the site was built from.
const STAMP: &str = "target/release/site.stamp";
/// Everything that the site is built from.
const SOURCES: [&str; 7] =
    ["frontend", "shared", "style", "public", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"];

/// The built program.
pub fn program(shell: &Shell) -> PathBuf {
    shell.root().join("target/release/mini-blog")
}

/// The folder of the built site.
pub fn folder(shell: &Shell) -> PathBuf {
    shell.root().join(SITE)
}

/// Compiles services and pages.
pub fn build_program(shell: &Shell) -> Result<()> {
    let mut build = shell.cargo();
    run("build the program", build.args(["build", "--release", "--package", "mini-blog"]))
}

/// Builds the browser's half, with styles and files, unless it was built from the same sources before.
pub fn build(shell: &Shell, wasm_opt: WasmOpt) -> Result<()> {
    let stamp = shell.root().join(STAMP);
    // Taken before the build: what is edited while it runs is built the next time.
    let sources = fingerprint::of(shell.root(), &SOURCES)?;
    let written = std::fs::read_to_string(&stamp).unwrap_or_default();
    if written == stamp_of(shell, sources, wasm_opt)? {
        say("the site is built");
        return Ok(());
    }
    match wasm_opt {
        WasmOpt::Here => leptos(shell, None)?,
        WasmOpt::TooOld => leptos(shell, Some(&no_wasm_opt(shell)?))?,
        WasmOpt::Downloaded => {
            if let Err(e) = leptos(shell, None) {
                say(&format!("{e}. Where that was for want of wasm-opt, it works without: trying once more"));
                leptos(shell, Some(&no_wasm_opt(shell)?))?;
            }
        }
    }
    // The site's folder is then complete in itself, wherever it is copied to.
    std::fs::copy(shell.root().join(HASHES), folder(shell).join("hash.txt"))
        .with_context(|| format!("the build left no {HASHES}"))?;
    std::fs::write(&stamp, stamp_of(shell, sources, wasm_opt)?)
        .with_context(|| format!("cannot write {STAMP}"))
}

/// What the site was built from and with, and what came of it.
fn stamp_of(shell: &Shell, sources: u64, wasm_opt: WasmOpt) -> Result<String> {
    let mut text = String::new();
    let results = fingerprint::of(shell.root(), &[SITE, HASHES])?;
    let compiler = read(shell.command("rustc").arg("--version")).unwrap_or_default();
    writeln!(text, "sources {sources:016x}\nresults {results:016x}\nwith {compiler}, wasm-opt {wasm_opt:?}")?;
    Ok(text)
}

fn leptos(shell: &Shell, first_in_path: Option<&Path>) -> Result<()> {
    let mut build = shell.command("cargo-leptos");
    build
        .args(["leptos", "build", "--release", "--precompress", "--frontend-only"])
        .env("LEPTOS_SITE_ROOT", SITE);
    if let Some(folder) = first_in_path {
        build.env("PATH", shell.path_with(folder)?);
    }
    run("build the site", &mut build)
}

/// A folder with a `wasm-opt` that leaves the file as it is: cargo-leptos cannot be told to do without.
fn no_wasm_opt(shell: &Shell) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let folder = shell.tools_dir().join("no-wasm-opt");
    let program = folder.join("wasm-opt");
    std::fs::create_dir_all(&folder)
        .and_then(|()| {
            std::fs::write(
                &program,
                "#!/bin/sh\n# The file is optimised in place: doing nothing keeps it.\nexit 0\n",
            )
        })
        .and_then(|()| std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", program.display()))?;
    say("building without wasm-opt: the wasm will be larger than it need be");
    Ok(folder)
}
