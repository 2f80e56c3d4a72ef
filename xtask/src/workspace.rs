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
    /// `dev` where only tests contain it, `build` where only the build script does.
    kind: Option<String>,
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

    /// These packages, and all whose programs or tests contain one of them. What a package takes for its own tests alone
    /// is not part of it: whoever depends on the package does not contain it.
    pub fn with_dependents(&self, changed: BTreeSet<String>) -> BTreeSet<String> {
        let mut all = changed;
        loop {
            let more = self.directly_dependent(&all, |needed| needed.kind.as_deref() != Some("dev"));
            if more.is_subset(&all) {
                break;
            }
            all.extend(more);
        }
        all.extend(self.directly_dependent(&all, |_| true));
        all
    }

    fn directly_dependent(
        &self,
        on: &BTreeSet<String>,
        counts: impl Fn(&Dependency) -> bool,
    ) -> BTreeSet<String> {
        let depends = |package: &&Package| {
            let mut needed = package.dependencies.iter().filter(|needed| needed.path.is_some());
            needed.any(|needed| counts(needed) && on.contains(&needed.name))
        };
        self.packages.iter().filter(depends).map(|package| package.name.clone()).collect()
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

    /// Services speak SQL through `kit::store::Tx`, which can then be that of another database.
    #[test]
    fn no_program_names_the_library_of_the_database_but_through_the_kit() {
        let workspace = Workspace::read(&Shell::new().unwrap()).unwrap();
        let names = |package: &&Package| {
            let mut needed = package.dependencies.iter();
            needed.any(|needed| needed.name == "rusqlite" && needed.kind.is_none())
        };
        let mut found: Vec<_> =
            workspace.packages.iter().filter(names).map(|package| package.name.as_str()).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            ["kit", "system-tests", "testkit"],
            "the last two are in no program that is released"
        );
    }

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
        // The tests of testkit contain the services; testkit itself, which the tests of the services contain, does not.
        let moderation = of("moderation");
        assert!(["testkit", "mini-blog"].iter().all(|name| moderation.contains(*name)), "{moderation:?}");
        assert!(!moderation.contains("posts"), "{moderation:?}");
    }
}
