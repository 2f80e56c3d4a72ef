//! Programs of others: where they are, and what is said where they are not.

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
pub fn renderer() -> Option<Vec<&'static str>> {
    let renderers = [vec!["kustomize", "build"], vec!["kubectl", "kustomize"]];
    let found = renderers.into_iter().find(|r| runs(Command::new(r[0]).args(&r[1..]).arg("--help")));
    if found.is_none() {
        skip("neither kubectl nor kustomize is there to render the manifests");
    }
    found
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

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
