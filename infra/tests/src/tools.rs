//! Renderer and validators. A test whose tool is missing is skipped, or fails if `CI` is set.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
pub use test_support::skip;
use tools_dir::tools_dir;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is in infra/tests")
}

/// A program that renders kustomizations, with its first arguments; `None` if there is none.
pub fn renderer() -> Option<&'static [&'static str]> {
    if output_of(&["kustomize", "version"]).is_some_and(|version| is_new(&version)) {
        return Some(&["kustomize", "build"]);
    }
    let kubectl = output_of(&["kubectl", "version", "--client", "--output", "json"]);
    let kubectl: Option<Value> = kubectl.and_then(|json| serde_json::from_str(&json).ok());
    if kubectl.is_some_and(|version| version["kustomizeVersion"].as_str().is_some_and(is_new)) {
        return Some(&["kubectl", "kustomize"]);
    }
    None
}

/// Older versions write other YAML, or do not know components.
fn is_new(version: &str) -> bool {
    let major = version.trim().trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 5)
}

/// A program from the tests' own Python packages; skips the test if there is none.
pub fn python(program: &str) -> Option<PathBuf> {
    let path = tools_dir(root()).join("python/bin").join(program);
    let found = path.is_file().then_some(path);
    if found.is_none() {
        skip(&format!("{program} with its packages (`cargo xtask setup` installs them)"));
    }
    found
}

/// The schemas that no package brings.
pub fn schemas() -> PathBuf {
    root().join("infra/tests/schemas")
}

fn output_of(command: &[&str]) -> Option<String> {
    let output = Command::new(command[0]).args(&command[1..]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
