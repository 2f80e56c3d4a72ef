//! The WebAssembly and the script that loads it.

use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use wasm_bindgen_cli_support::Bindgen;

/// Writes `NAME.wasm` and `NAME.js` into the folder.
pub fn write(wasm: &Path, name: &str, folder: &Path) -> Result<()> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name(name).typescript(false).web(true)?.generate(folder)?;
    // The name that a page of Leptos asks for.
    fs::rename(folder.join(format!("{name}_bg.wasm")), folder.join(format!("{name}.wasm")))
        .context("wasm-bindgen wrote no WebAssembly")
}

/// Makes the WebAssembly smaller, in place.
pub fn optimise(program: &Path, flags: &[String], wasm: &Path) -> Result<()> {
    run(program, Command::new(program).args(flags).arg(wasm).arg("-o").arg(wasm))
}

/// Makes the script smaller, in place. It stays a module that exports the same names.
pub fn minify(program: &Path, script: &Path) -> Result<()> {
    let mut out = OsString::from("--outfile=");
    out.push(script);
    let flags = ["--minify", "--format=esm", "--log-level=warning", "--allow-overwrite"];
    run(program, Command::new(program).args(flags).arg(out).arg(script))
}

fn run(program: &Path, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "{} failed ({status})", program.display());
    Ok(())
}
