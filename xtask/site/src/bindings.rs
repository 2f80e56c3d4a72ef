//! The WebAssembly and the script that loads it.

use anyhow::{Context, Result, ensure};
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
    let status = Command::new(program).args(flags).arg(wasm).arg("-o").arg(wasm).status();
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "{} failed ({status})", program.display());
    Ok(())
}
