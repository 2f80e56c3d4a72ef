//! The packages of this workspace, as `cargo metadata` lists them.

use crate::shell::Shell;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
pub struct Workspace {
    pub packages: Vec<Package>,
    #[serde(rename = "workspace_root")]
    pub root: PathBuf,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    pub name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    pub targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Only packages of this workspace have one.
    path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
    pub src_path: PathBuf,
    /// Whether it has tests at all.
    pub test: bool,
}

impl Workspace {
    pub fn read(shell: &Shell) -> Result<Self> {
        let mut metadata = shell.cargo();
        metadata.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
        let output = metadata.output().context("cannot run cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata prints")
    }

    /// The package whose folder holds the file, which is named from the root.
    pub fn package_of(&self, file: &Path) -> Option<&Package> {
        let file = self.root.join(file);
        let holds = self.packages.iter().filter(|package| file.starts_with(package.folder()));
        // The folder of one package may be inside that of another.
        holds.max_by_key(|package| package.folder().as_os_str().len())
    }

    /// These packages and all that depend on one of them.
    pub fn with_dependents(&self, changed: BTreeSet<String>) -> BTreeSet<String> {
        let mut all = changed;
        loop {
            let depends = |package: &&Package| {
                let mut needed = package.dependencies.iter().filter(|needed| needed.path.is_some());
                needed.any(|needed| all.contains(&needed.name))
            };
            let more: BTreeSet<_> =
                self.packages.iter().filter(depends).map(|package| package.name.clone()).collect();
            if more.is_subset(&all) {
                return all;
            }
            all.extend(more);
        }
    }
}

impl Package {
    pub fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

impl Target {
    pub fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|k| k == kind)
    }

    /// Whether it is the package's library.
    pub fn is_library(&self) -> bool {
        ["lib", "rlib", "cdylib", "proc-macro"].iter().any(|kind| self.is(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_packages_and_packages_have_dependents() {
        let workspace = Workspace::read(&Shell::new().unwrap()).unwrap();
        let name = |file: &str| workspace.package_of(Path::new(file)).map(|package| package.name.as_str());
        assert_eq!(name("shared/src/lib.rs"), Some("shared"));
        assert_eq!(name("xtask/src/main.rs"), Some("xtask"));
        assert_eq!(name("xtask/site/src/main.rs"), Some("site-builder"));
        assert_eq!(name("README.md"), None);
        let of = |name: &str| workspace.with_dependents([name.to_owned()].into());
        let kit = of("kit");
        assert!(["kit", "posts", "mini-blog"].iter().all(|name| kit.contains(*name)), "{kit:?}");
        assert!(!kit.contains("shared") && !kit.contains("xtask"), "{kit:?}");
        assert_eq!(of("xtask").len(), 1);
    }
}
