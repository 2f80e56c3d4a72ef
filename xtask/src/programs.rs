//! The test programs that cargo builds.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program that was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its name: that of the package for the tests within the sources, else that of the file in `tests`.
    pub name: String,
    /// Whether it is in `tests`.
    pub is_integration: bool,
    /// Whether it runs tests, or is a program of its own.
    pub is_test: bool,
    pub file: PathBuf,
    /// The folder of its package.
    pub folder: PathBuf,
}

/// The lines of cargo that matter here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    profile: Option<Profile>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Runs a build of cargo, and returns the programs that it made or found up to date.
pub fn build(cargo: &mut Command) -> Result<Vec<Built>> {
    let output = cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()).output();
    let output = output.context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not compile ({})", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(read).collect())
}

/// The program that a line of cargo names, if it names one.
pub fn read(line: &str) -> Option<Built> {
    let message: Message = serde_json::from_str(line).ok()?;
    let (target, is_test) = (message.target?, message.profile?.test);
    let folder = message.manifest_path?.parent()?.to_owned();
    let file = message.executable.filter(|_| message.reason == "compiler-artifact")?;
    let is_integration = target.kind.iter().any(|kind| kind == "test");
    Some(Built { name: target.name, is_integration, is_test, file, folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_what_cargo_prints() {
        let line = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/kit/Cargo.toml","profile":{{"test":{test}}},"target":{{"name":"it","kind":["test"]}},"executable":{executable}}}"#
            )
        };
        let built = read(&line(true, "\"/t/it-1\"")).unwrap();
        assert_eq!((built.name.as_str(), built.is_integration, built.is_test), ("it", true, true));
        assert_eq!((built.file, built.folder), ("/t/it-1".into(), "/w/kit".into()));
        assert!(!read(&line(false, "\"/t/kit\"")).unwrap().is_test);
        for other in [line(true, "null"), r#"{"reason":"build-finished"}"#.into(), "x".into()] {
            assert!(read(&other).is_none(), "{other}");
        }
    }
}
