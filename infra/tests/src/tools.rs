//! Programs of others: where they are, and what is said where they are not.

use serde_json::Value;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is in infra/tests")
}

/// Says that checks are skipped for want of something; a failure where everything has to be there.
pub fn skip(missing: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci.is_empty()), "missing, though CI is set: {missing}");
    eprintln!("skipped: {missing}");
}

/// A program that renders kustomizations, with its first arguments.
pub fn renderer() -> Option<&'static [&'static str]> {
    if said(&["kustomize", "version"]).is_some_and(|version| is_new(&version)) {
        return Some(&["kustomize", "build"]);
    }
    let kubectl = said(&["kubectl", "version", "--client", "--output", "json"]);
    let kubectl: Option<Value> = kubectl.and_then(|json| serde_json::from_str(&json).ok());
    if kubectl.is_some_and(|version| version["kustomizeVersion"].as_str().is_some_and(is_new)) {
        return Some(&["kubectl", "kustomize"]);
    }
    skip("there is neither kustomize 5 nor a kubectl that has it (1.27 or newer): nothing can be rendered");
    None
}

/// Older ones write other YAML, or know no components.
fn is_new(version: &str) -> bool {
    let major = version.trim().trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 5)
}

/// A program of the tests' own Python packages.
pub fn python(program: &str) -> Option<PathBuf> {
    let path = root().join("target/tools/python/bin").join(program);
    let found = path.is_file().then_some(path);
    if found.is_none() {
        skip(&format!("{program} with its packages; `cargo xtask setup` installs them"));
    }
    found
}

/// The folder of the schemas that no package brings. They may be missing anywhere.
pub fn schemas() -> Option<PathBuf> {
    let named = env::var_os("SCHEMAS_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root().join("../shared/schemas"));
    if !folder.is_dir() {
        eprintln!(
            "skipped: there are no schemas in {}; SCHEMAS_DIR can name another folder",
            folder.display()
        );
        return None;
    }
    Some(folder)
}

fn said(command: &[&str]) -> Option<String> {
    let output = Command::new(command[0]).args(&command[1..]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
