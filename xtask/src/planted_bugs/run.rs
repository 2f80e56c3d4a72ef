//! Building the copy, and running one test of it at a time.

use super::table::Outcome;
use super::tree::Tree;
use super::{CaughtBy, Planted};
use crate::programs::{self, Built};
use crate::shell::Shell;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long one test may take. The longest waits in the tests are a sixth of this.
const TEST_LIMIT: Duration = Duration::from_secs(120);
/// How often to check whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Where planted bugs are tried.
#[derive(Debug)]
pub struct Bench<'a> {
    shell: &'a Shell,
    tree: &'a Tree,
}

/// How one test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Green,
    Red,
    /// Nothing until its time was over.
    Hung,
    /// The program has no such test, or ignores it.
    NotRun,
}

impl<'a> Bench<'a> {
    pub fn new(shell: &'a Shell, tree: &'a Tree) -> Self {
        Self { shell, tree }
    }

    /// The tests that are not green before anything is planted, each with its verdict.
    pub fn red_before(&self, chosen: &[Planted]) -> Result<Vec<String>> {
        let mut tests: BTreeMap<_, (&CaughtBy, Vec<&str>)> = BTreeMap::new();
        for CaughtByOf { caught_by, test } in all_tests(chosen) {
            let (_, of_program) = tests
                .entry((&caught_by.package, &caught_by.target))
                .or_insert_with(|| (caught_by, Vec::new()));
            if !of_program.contains(&test) {
                of_program.push(test);
            }
        }
        let log = self.tree.log("before");
        let mut red = Vec::new();
        for (caught_by, tests) in tests.values() {
            let package = &caught_by.package;
            let Some(program) = self.build(caught_by, &log)? else {
                bail!("the tests of {package} do not compile: see {}", log.display());
            };
            for test in tests {
                let verdict = self.run_test(&program, test, &log)?;
                if verdict != Verdict::Green {
                    red.push(format!("{package}: {test} is {verdict:?}: see {}", log.display()));
                }
            }
        }
        Ok(red)
    }

    /// Plants a bug, runs the tests that must notice it, and takes it out again.
    pub fn plant(&self, planted: &Planted) -> Result<Outcome> {
        let before = match self.tree.plant(planted) {
            Ok(before) => before,
            Err(error) => return Ok(Outcome::DoesNotApply(format!("{error:#}"))),
        };
        let outcome = self.noticed(planted);
        Tree::undo(before)?;
        outcome
    }

    fn noticed(&self, planted: &Planted) -> Result<Outcome> {
        let log = self.tree.log(&planted.name);
        fs::write(&log, format!("{}\n", planted.says))
            .with_context(|| format!("cannot write {}", log.display()))?;
        let Some(program) = self.build(&planted.caught_by, &log)? else {
            return Ok(Outcome::DoesNotCompile);
        };
        let mut blind = Vec::new();
        for test in &planted.caught_by.tests {
            let verdict = self.run_test(&program, test, &log)?;
            if verdict != Verdict::Red && !(verdict == Verdict::Hung && planted.caught_by.by_timeout) {
                blind.push(format!("{test} ({verdict:?})"));
            }
        }
        Ok(if blind.is_empty() { Outcome::Caught } else { Outcome::NotCaught(blind) })
    }

    /// Builds the program of these tests; nothing where it does not compile.
    fn build(&self, caught_by: &CaughtBy, log: &Path) -> Result<Option<Built>> {
        let mut cargo = self.shell.cargo();
        cargo
            .current_dir(self.tree.root())
            .env("CARGO_TARGET_DIR", self.tree.target_dir())
            .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
            .args(caught_by.cargo_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(append(log)?);
        let output = cargo.spawn().and_then(Child::wait_with_output).context("cannot run cargo")?;
        if !output.status.success() {
            return Ok(None);
        }
        let program = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(programs::read)
            .find(|built| built.is_test);
        program.map(Some).with_context(|| format!("cargo built no tests of {}", caught_by.package))
    }

    /// Runs one test by its whole name.
    fn run_test(&self, program: &Built, test: &str, log: &Path) -> Result<Verdict> {
        let out = self.tree.log("out");
        let printed = File::create(&out).with_context(|| format!("cannot write {}", out.display()))?;
        let mut run = Command::new(&program.file);
        run.current_dir(&program.folder)
            .args(["--exact", test])
            // A failure that was found by chance would be tried first in every later run.
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
            .stdin(Stdio::null())
            .stdout(printed)
            .stderr(append(log)?);
        let child = run.spawn().with_context(|| format!("cannot run {}", program.file.display()))?;
        let ended = ends(child, TEST_LIMIT)?;
        let printed = fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
        use std::io::Write as _;
        append(log)?
            .write_all(printed.as_bytes())
            .with_context(|| format!("cannot write {}", log.display()))?;
        Ok(match ended {
            None => Verdict::Hung,
            _ if !printed.contains("running 1 test\n") || printed.contains(" 1 ignored;") => Verdict::NotRun,
            Some(status) if status.success() => Verdict::Green,
            Some(_) => Verdict::Red,
        })
    }
}

/// A test that must notice something.
struct CaughtByOf<'a> {
    caught_by: &'a CaughtBy,
    test: &'a str,
}

fn all_tests(chosen: &[Planted]) -> impl Iterator<Item = CaughtByOf<'_>> {
    chosen.iter().flat_map(|planted| {
        let caught_by = &planted.caught_by;
        caught_by.tests.iter().map(move |test| CaughtByOf { caught_by, test })
    })
}

fn append(log: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(log);
    file.with_context(|| format!("cannot write {}", log.display()))
}

/// Waits for the end of a program. Kills it when its time is over, and then returns nothing.
fn ends(mut child: Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a test")? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= limit {
            // It may have ended in this moment: then there is nothing left to end.
            let _ = child.kill();
            child.wait().context("cannot end a test")?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_ended() {
        let sleep = |seconds: &str| Command::new("sleep").arg(seconds).spawn().unwrap();
        assert!(ends(sleep("0"), Duration::from_secs(20)).unwrap().unwrap().success());
        let begun = Instant::now();
        assert_eq!(ends(sleep("60"), Duration::from_millis(30)).unwrap(), None);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
