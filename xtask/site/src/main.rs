//! Builds the site from the compiled WebAssembly bundle: what `cargo leptos build --release --frontend-only` makes, without
//! the minutes that compiling cargo-leptos takes. `cargo xtask` runs it.
//!
//! - [`bindings`]: the WebAssembly and the script that loads it.
//! - [`style`]: the style sheet, one file for the browsers that are supported.
//! - [`files`]: copies, names with the hash of the content, compressed copies.

mod bindings;
mod files;
mod style;

use anyhow::{Context, Result};
use clap::Parser;
use std::fs;
use std::path::PathBuf;

/// The folder of the site that holds what was built; the others are copied as they are.
const BUILT: &str = "pkg";
/// Names the hash of each built file, by its ending.
const HASHES: &str = "hash.txt";

/// Builds the site from the compiled WebAssembly bundle
#[derive(Debug, Parser)]
struct Cli {
    /// The compiled WebAssembly bundle
    #[arg(long, value_name = "FILE")]
    wasm: PathBuf,
    /// What the built files are called, without their endings
    #[arg(long)]
    name: String,
    /// The style sheet; what it imports becomes part of it
    #[arg(long, value_name = "FILE")]
    style: PathBuf,
    /// The folder whose files are copied as they are
    #[arg(long, value_name = "DIR")]
    assets: PathBuf,
    /// Where the site goes; what is there is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The program that makes the WebAssembly smaller; without it, the file stays as it is
    #[arg(long, value_name = "PROGRAM")]
    wasm_opt: Option<PathBuf>,
    /// The program that makes the script smaller; without it, the file stays as it is
    #[arg(long, value_name = "PROGRAM")]
    esbuild: Option<PathBuf>,
    /// Flags of `wasm-opt`
    #[arg(last = true)]
    wasm_opt_flags: Vec<String>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // Complete or not there: whoever serves the old site meanwhile never sees half of the new one.
    let new = cli.out.with_extension("new");
    files::empty(&new)?;
    let built = new.join(BUILT);
    bindings::write(&cli.wasm, &cli.name, &built)?;
    if let Some(program) = &cli.wasm_opt {
        bindings::optimise(program, &cli.wasm_opt_flags, &built.join(format!("{}.wasm", cli.name)))?;
    }
    if let Some(program) = &cli.esbuild {
        bindings::minify(program, &built.join(format!("{}.js", cli.name)))?;
    }
    let css = style::bundle(&cli.style)?;
    fs::write(built.join(format!("{}.css", cli.name)), css).context("cannot write the style sheet")?;
    files::copy(&cli.assets, &new)?;
    let hashes = files::hash_names(&built, &cli.name, ["js", "wasm", "css"])?;
    files::compress(&new)?;
    fs::write(new.join(HASHES), hashes).context("cannot write the hashes")?;
    files::replace(&cli.out, &new)
}
