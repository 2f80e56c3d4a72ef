//! What has changed since the main branch, and which packages that concerns.

use crate::shell::{Shell, read};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// Where the main branch may be; the first that is known counts.
const MAIN: [&str; 4] = ["main", "origin/main", "master", "origin/master"];
/// Files that no package of the same folder tests, and the packages whose tests read them.
const READ_BY: [(&str, &[&str]); 8] = [
    ("tests/planted/", &["xtask"]),
    ("docs/", &["shared", "xtask"]),
    ("infra/k8s/", &["manifest-tests"]),
    ("infra/docker/", &["manifest-tests"]),
    ("skaffold.yaml", &["manifest-tests"]),
    ("style/", &["site-builder"]),
    ("public/", &[]),
    (".ci/", &[]),
];
/// Files in the root that change what every package is compiled to.
const CONCERN_ALL: [&str; 5] = ["Cargo.toml", "Cargo.lock", ".cargo/", "clippy.toml", "rust-toolchain"];

/// The packages that a change since the main branch, committed or not, concerns: those that hold a changed file, and
/// all that depend on them.
pub fn packages(shell: &Shell, workspace: &Workspace) -> Result<BTreeSet<String>> {
    let base = base(shell).context("not a git checkout, or one without a commit")?;
    let lines = |args: &[&str]| {
        let text = read(shell.command("git").args(args));
        text.with_context(|| format!("cannot run git {}", args.join(" ")))
    };
    let changed = lines(&["diff", "--name-only", "--no-renames", &base])?;
    let new = lines(&["ls-files", "--others", "--exclude-standard"])?;
    Ok(workspace.with_dependents(concerned(workspace, changed.lines().chain(new.lines()))))
}

/// The commit at which this branch left the main branch.
fn base(shell: &Shell) -> Option<String> {
    let git = |args: &[&str]| read(shell.command("git").args(args)).filter(|text| !text.is_empty());
    MAIN.iter().find_map(|main| git(&["merge-base", "HEAD", main])).or_else(|| git(&["rev-parse", "HEAD"]))
}

fn concerned<'a>(workspace: &Workspace, files: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut packages = BTreeSet::new();
    for file in files {
        if CONCERN_ALL.iter().any(|all| file.starts_with(all)) {
            return workspace.packages.iter().map(|package| package.name.clone()).collect();
        }
        let readers = READ_BY.iter().find(|(start, _)| file.starts_with(start)).map(|(_, readers)| *readers);
        let holder = workspace.package_of(Path::new(file)).map(|package| package.name.as_str());
        let concerned = readers.map_or_else(|| holder.into_iter().collect(), <[&str]>::to_vec);
        packages.extend(concerned.into_iter().map(str::to_owned));
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_concerns_the_packages_that_are_made_of_it_or_read_it() {
        let workspace = Workspace::read(&Shell::new().unwrap()).unwrap();
        let of = |files: &[&str]| {
            concerned(&workspace, files.iter().copied()).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&["services/posts/src/api.rs", "xtask/src/cli.rs"]), "posts xtask");
        assert_eq!(of(&["tests/planted/a.toml"]), "xtask");
        assert_eq!(of(&["tests/tests/site.rs"]), "system-tests");
        assert_eq!(of(&["infra/k8s/base/kustomization.yaml"]), "manifest-tests");
        assert_eq!(of(&["README.md", ".github/workflows/ci.yml"]), "");
        assert_eq!(
            concerned(&workspace, ["README.md", "Cargo.lock"].into_iter()).len(),
            workspace.packages.len()
        );
        for (_, readers) in READ_BY {
            assert!(
                readers.iter().all(|reader| workspace.packages.iter().any(|p| p.name == *reader)),
                "{readers:?}"
            );
        }
    }
}
