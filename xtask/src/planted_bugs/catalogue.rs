//! What is planted: one file for each bug.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Where the files are.
const FOLDER: &str = "tests/planted";

/// A planted bug.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Planted {
    /// Its name: that of its file.
    #[serde(skip)]
    pub name: String,
    /// What is wrong with the code once it is planted, in one sentence.
    pub says: String,
    /// How the code is changed.
    pub edit: Vec<Edit>,
    /// What must notice.
    pub caught_by: CaughtBy,
}

/// A text in a file, and what stands there instead.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    file: String,
    /// Must be there exactly once.
    find: String,
    replace: String,
}

/// The tests that must fail, each of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CaughtBy {
    /// Their package.
    pub package: String,
    /// `lib` for the tests within the sources, else the name of a test program in the package's `tests`.
    pub target: String,
    /// Their whole names, as the test program lists them.
    pub tests: Vec<String>,
    /// Whether a test that never ends has noticed, too.
    #[serde(default)]
    pub by_timeout: bool,
}

impl CaughtBy {
    /// The arguments with which cargo builds their program.
    pub fn cargo_args(&self) -> Vec<&str> {
        let mut args = vec!["--package", &self.package];
        match self.target.as_str() {
            "lib" => args.push("--lib"),
            program => args.extend(["--test", program]),
        }
        args
    }
}

impl Planted {
    /// The files that it changes, with what they then hold; the error says why it cannot be planted.
    pub fn edited(&self, root: &Path) -> Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        for Edit { file, find, replace } in &self.edit {
            if !files.contains_key(file) {
                let text = std::fs::read_to_string(root.join(file))
                    .with_context(|| format!("cannot read {file}"))?;
                files.insert(file.clone(), text);
            }
            let text = files.get_mut(file).with_context(|| format!("{file} was just read"))?;
            let times = text.matches(find.as_str()).count();
            ensure!(times == 1, "`find` matches {times} times in {file}; expected exactly one: {find}");
            *text = text.replacen(find.as_str(), replace, 1);
        }
        Ok(files)
    }
}

/// Every planted bug, by name.
pub fn read(root: &Path) -> Result<Vec<Planted>> {
    let folder = root.join(FOLDER);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut all = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        all.push(parse(name, &text).with_context(|| format!("{} cannot be read", file.display()))?);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn parse(name: &str, text: &str) -> Result<Planted> {
    let planted: Planted = toml::from_str(text)?;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        bail!("a name is made of a-z, 0-9 and '-'");
    }
    ensure!(!planted.says.trim().is_empty() && !planted.says.contains('\n'), "`says` is one sentence");
    ensure!(!planted.edit.is_empty(), "nothing is changed");
    for edit in &planted.edit {
        ensure!(!edit.find.is_empty() && edit.find != edit.replace, "an edit changes nothing");
    }
    ensure!(!planted.caught_by.tests.is_empty(), "no test is named");
    // They run a program that was built beforehand, from sources without the bug.
    ensure!(planted.caught_by.package != "system-tests", "the tests of the built program cannot notice");
    Ok(Planted { name: name.to_owned(), ..planted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Shell;
    use std::path::PathBuf;

    const GOOD: &str = "says = 'S.'\n[[edit]]\nfile = 'f'\nfind = 'a'\nreplace = 'b'\n\
                        [caught-by]\npackage = 'p'\ntarget = 'lib'\ntests = ['t']\n";

    #[test]
    fn a_file_is_read_and_one_that_makes_no_sense_is_not() {
        let planted = parse("a-bug", GOOD).unwrap();
        assert_eq!((planted.name.as_str(), planted.caught_by.by_timeout), ("a-bug", false));
        assert_eq!(planted.caught_by.cargo_args(), ["--package", "p", "--lib"]);
        let it = parse("a", &GOOD.replace("'lib'", "'it'")).unwrap();
        assert_eq!(it.caught_by.cargo_args(), ["--package", "p", "--test", "it"]);
        assert!(parse("A bug", GOOD).is_err());
        for (right, wrong) in [
            ("'S.'", "''"),
            ("'S.'", "'S.'\nother = 1"),
            ("'b'", "'a'"),
            ("'a'", "''"),
            ("['t']", "[]"),
            ("target = 'lib'\n", ""),
            ("'p'", "'system-tests'"),
        ] {
            assert!(parse("a", &GOOD.replace(right, wrong)).is_err(), "{right} -> {wrong}");
        }
    }

    #[test]
    fn what_is_there_twice_or_not_at_all_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let planted = parse("a", GOOD).unwrap();
        assert!(planted.edited(dir.path()).is_err(), "there is no such file");
        for (text, changed) in [("xay", Some("xby")), ("xy", None), ("aa", None)] {
            std::fs::write(dir.path().join("f"), text).unwrap();
            let edited = planted.edited(dir.path()).ok();
            assert_eq!(edited.as_ref().map(|files| files["f"].as_str()), changed, "{text}");
        }
    }

    /// The folder of a package of this workspace.
    fn folder_of(root: &Path, package: &str) -> Option<PathBuf> {
        let manifest = |folder: &Path| -> toml::Table {
            std::fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap()
        };
        let members = manifest(root)["workspace"]["members"].as_array().unwrap().clone();
        members
            .iter()
            .map(|member| root.join(member.as_str().unwrap()))
            .find(|folder| manifest(folder)["package"]["name"].as_str() == Some(package))
    }

    fn sources(path: &Path) -> Vec<PathBuf> {
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().flat_map(|entry| sources(&entry.unwrap().path())).collect()
        } else {
            vec![path.to_owned()]
        }
    }

    /// The catalogue cannot rot: whoever changes the code that a bug is planted in, or renames the test that
    /// catches it, learns it from this test, not from a run that takes half an hour.
    #[test]
    fn every_planted_bug_fits_the_code_and_names_tests_that_are_there() {
        let shell = Shell::new().unwrap();
        let all = read(shell.root()).unwrap();
        assert!(all.len() >= 26, "only {} are planted", all.len());
        let mut faults = Vec::new();
        for planted in &all {
            if let Err(error) = planted.edited(shell.root()) {
                faults.push(format!("{}: {error:#}", planted.name));
            }
            let CaughtBy { package, target, tests, .. } = &planted.caught_by;
            let Some(folder) = folder_of(shell.root(), package) else {
                faults.push(format!("{}: there is no package {package}", planted.name));
                continue;
            };
            let places = match target.as_str() {
                "lib" => vec![folder.join("src")],
                program => {
                    vec![folder.join("tests").join(program), folder.join(format!("tests/{program}.rs"))]
                }
            };
            let text: String = places
                .iter()
                .filter(|place| place.exists())
                .flat_map(|place| sources(place))
                .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
                .map(|file| std::fs::read_to_string(file).unwrap())
                .collect();
            for test in tests {
                let name = test.rsplit("::").next().unwrap_or_default();
                if !text.contains(&format!("fn {name}(")) {
                    faults.push(format!("{}: {package} has no test {test} in {target}", planted.name));
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
