//! Which test programs hold a test of a given name: found in the sources, so that nothing else is compiled.

use crate::workspace::{Package, Target, Workspace};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A test program of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    pub package: String,
    pub part: Part,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The tests within the sources of the library.
    Library,
    /// Those within the sources of a program.
    Binary(String),
    /// A file or folder in `tests`.
    Tests(String),
}

/// Every test program with a test whose name contains the text. The text may begin with the names of modules, as test
/// programs print them.
pub fn holding(workspace: &Workspace, text: &str) -> Result<BTreeSet<Program>> {
    let name = text.rsplit("::").next().unwrap_or(text);
    let mut programs = BTreeSet::new();
    for package in &workspace.packages {
        for (file, part) in sources(package)? {
            let source =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            if tests(&source).any(|test| test.contains(name)) {
                programs.insert(Program { package: package.name.clone(), part });
            }
        }
    }
    Ok(programs)
}

impl Program {
    /// How cargo builds it and nothing else. A name that only one package has is looked up in the whole workspace: so
    /// its dependencies are those that `cargo xtask test` compiles, too.
    pub fn cargo_args(&self, workspace: &Workspace) -> Vec<String> {
        let package = ["--package".to_owned(), self.package.clone()];
        match &self.part {
            Part::Library => [package.as_slice(), &["--lib".to_owned()]].concat(),
            Part::Binary(name) => [package.as_slice(), &["--bin".to_owned(), name.clone()]].concat(),
            Part::Tests(name) => {
                let of_name = |package: &&Package| {
                    package.targets.iter().any(|target| target.is("test") && target.name == *name)
                };
                let test = ["--test".to_owned(), name.clone()];
                if workspace.packages.iter().filter(of_name).count() == 1 {
                    [["--workspace".to_owned()].as_slice(), &test].concat()
                } else {
                    [package.as_slice(), &test].concat()
                }
            }
        }
    }
}

/// The source files of a package, each with the test program that it becomes part of.
fn sources(package: &Package) -> Result<Vec<(PathBuf, Part)>> {
    let mut found = Vec::new();
    for target in package.targets.iter().filter(|target| target.test) {
        let Some(part) = part(target) else { continue };
        let files = match target.src_path.parent() {
            // The folder is the program's own, but for what other programs begin with.
            Some(folder) if owns_folder(&target.src_path) => rust_files(folder)?,
            _ => vec![target.src_path.clone()],
        };
        let roots =
            package.targets.iter().map(|other| &other.src_path).filter(|root| **root != target.src_path);
        let roots: Vec<_> = roots.collect();
        found
            .extend(files.into_iter().filter(|file| !roots.contains(&file)).map(|file| (file, part.clone())));
    }
    // A module in a package that has both is the library's.
    let library: BTreeSet<_> =
        found.iter().filter(|(_, part)| *part == Part::Library).map(|(file, _)| file.clone()).collect();
    found.retain(|(file, part)| !matches!(part, Part::Binary(_)) || !library.contains(file));
    Ok(found)
}

fn part(target: &Target) -> Option<Part> {
    if target.is_library() {
        Some(Part::Library)
    } else if target.is("test") {
        Some(Part::Tests(target.name.clone()))
    } else {
        target.is("bin").then(|| Part::Binary(target.name.clone()))
    }
}

fn owns_folder(root: &Path) -> bool {
    root.file_name().is_some_and(|name| name == "lib.rs" || name == "main.rs")
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The names of the functions behind an attribute that makes a test of them.
fn tests(source: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    source.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[") {
            let attribute = line.trim_start_matches("#[");
            marked |= attribute.starts_with("test]") || attribute.contains("::test");
            return None;
        }
        let name = line.split_once("fn ").and_then(|(_, rest)| rest.split(['(', '<']).next());
        let is_test = marked && name.is_some();
        // A comment or the end of a long attribute may stand between.
        marked &= name.is_none();
        name.filter(|_| is_test)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Shell;

    #[test]
    fn tests_are_distinguished_from_other_functions() {
        let source = "fn helper() {}\n#[test]\nfn a() {}\n#[tokio::test(flavor = \"x\")]\n#[cfg(unix)]\n// Why.\n\
                      async fn b() {}\nfn c() {}\nproptest! {\n    #[test]\n    fn d(x in 0..9) {}\n}\n";
        assert_eq!(tests(source).collect::<Vec<_>>(), ["a", "b", "d"]);
    }

    #[test]
    fn a_test_is_found_wherever_it_is() {
        let workspace = Workspace::read(&Shell::new().unwrap()).unwrap();
        let found = |text: &str| {
            let programs = holding(&workspace, text).unwrap();
            programs.iter().map(|program| program.cargo_args(&workspace).join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(found("find_test::tests::a_test_is_found_wherever"), ["--package xtask --bin xtask"]);
        assert_eq!(found("the_first_tour_works_as_it_is_printed"), ["--workspace --test program"]);
        assert_eq!(found("no_such_test_anywhere".repeat(2).as_str()), [""; 0]);
        let several = found("a_");
        assert!(several.contains(&"--package kit --lib".to_owned()), "{several:?}");
    }
}
