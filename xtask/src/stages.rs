//! Stages of a run: what each did, how many checks and tests, how long; the sums at the end.

use crate::shell::{line, say};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A test that finds a tool missing prints this at the beginning of a line, and passes.
const SKIPPED: &str = "SKIPPED ";

/// How many tests there were.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Why tests skipped themselves.
    reasons: Vec<String>,
}

/// A stage that has ended.
#[derive(Debug)]
struct Stage {
    name: String,
    tally: Tally,
    /// Why it failed, where no failed test says so.
    error: Option<String>,
    took: Duration,
}

/// All stages of a run.
#[derive(Debug)]
pub struct Stages {
    planned: usize,
    begun: Instant,
    ended: Vec<Stage>,
    /// What could not be done here, and why.
    skipped: Vec<String>,
}

impl Stages {
    pub fn new(planned: usize) -> Self {
        Self { planned, begun: Instant::now(), ended: Vec::new(), skipped: Vec::new() }
    }

    /// Runs a stage. One that counts no tests counts as one check itself. Returns whether it passed.
    pub fn run(&mut self, name: &str, usually: &str, work: impl FnOnce(&mut Tally) -> Result<()>) -> bool {
        say(&format!("stage {} of {}: {name} (usually {usually})", self.number(), self.planned));
        let begun = Instant::now();
        let mut tally = Tally::default();
        let result = work(&mut tally);
        let error = match result {
            Ok(()) if tally == Tally::default() => {
                tally.passed = 1;
                None
            }
            Ok(()) => None,
            Err(e) => {
                tally.failed += u64::from(tally.failed == 0);
                let e = format!("{e:#}");
                say(&format!("{name} failed: {e}"));
                Some(e)
            }
        };
        let passed = tally.failed == 0;
        self.ended.push(Stage { name: name.to_owned(), tally, error, took: begun.elapsed() });
        passed
    }

    /// Notes a whole stage that cannot run here.
    pub fn skip(&mut self, name: &str, why: &str) {
        say(&format!("stage {} of {}: {name}: skipped: {why}", self.number(), self.planned));
        self.planned = self.planned.saturating_sub(1);
        self.skipped.push(format!("{name}: {why}"));
    }

    /// Notes a part of a stage that cannot run here.
    pub fn skip_part(&mut self, what: &str) {
        say(&format!("skipped: {what}"));
        self.skipped.push(what.to_owned());
    }

    fn number(&self) -> usize {
        self.ended.len() + 1
    }

    /// Prints a line for each stage, what was skipped, and the sums. The last line is one that programs read too.
    pub fn finish(self) -> ExitCode {
        print!("\n{}", self.summary());
        if self.sum().failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn sum(&self) -> Tally {
        let mut sum = Tally { skipped: self.skipped.len() as u64, ..Tally::default() };
        for Stage { tally, .. } in &self.ended {
            sum.add(Tally { reasons: Vec::new(), ..*tally });
        }
        sum
    }

    fn summary(&self) -> String {
        let mut text =
            format!("{:<38} {:>7} {:>7} {:>7} {:>9}\n", "stage", "passed", "failed", "skipped", "seconds");
        let mut row = |name: &str, Tally { passed, failed, skipped, .. }: &Tally, took: Duration| {
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "{name:<38} {passed:>7} {failed:>7} {skipped:>7} {:>9.1}", took.as_secs_f64());
        };
        for stage in &self.ended {
            row(&stage.name, &stage.tally, stage.took);
        }
        let sum = self.sum();
        row("total", &sum, self.begun.elapsed());
        for Stage { name, error, .. } in &self.ended {
            if let Some(error) = error {
                let _ = writeln!(text, "failed: {name}: {error}");
            }
        }
        let within = self.ended.iter().flat_map(|stage| &stage.tally.reasons);
        for skipped in within.chain(&self.skipped) {
            let _ = writeln!(text, "skipped: {skipped}");
        }
        let _ = writeln!(text, "{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
        text
    }
}

/// Runs a program of tests, writes what it prints to `out`, and adds its results to the tally.
pub fn count(command: &mut Command, tally: &mut Tally, out: &mut impl Write) -> Result<()> {
    let shown = line(command);
    // Both outputs in the order in which they were written.
    let (output, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdout(writer.try_clone().context("cannot share a pipe")?).stderr(writer);
    let child = command.spawn();
    // The pipe ends with the program, not with the last copy here.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.with_context(|| format!("cannot run {shown}"))?;
    let (failed_before, skipped_before) = (tally.failed, tally.reasons.len());
    let mut reported = false;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the output of a test program")?;
        // Where nobody reads, the tests still run to their end.
        let _ = out.write_all(&line).and_then(|()| out.write_all(b"\n"));
        reported |= tally.read(&String::from_utf8_lossy(&line));
    }
    // The runner takes them for passed.
    let skipped = (tally.reasons.len() - skipped_before) as u64;
    tally.passed = tally.passed.saturating_sub(skipped);
    let status = child.wait().context("cannot wait for a test program")?;
    if !status.success() && tally.failed == failed_before {
        bail!("{shown} ended with {status}");
    }
    if status.success() && !reported {
        bail!("{shown} ended well and reported no test results: it may have run none");
    }
    Ok(())
}

impl Tally {
    /// Adds another one's numbers.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend(other.reasons);
    }

    /// Adds the numbers of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out`.
    /// Returns whether it reports anything: results, or a test that skipped itself.
    fn read(&mut self, line: &str) -> bool {
        if let Some(reason) = line.strip_prefix(SKIPPED) {
            // A test may say so more than once.
            if !self.reasons.iter().any(|known| known == reason) {
                self.skipped += 1;
                self.reasons.push(reason.to_owned());
            }
            return true;
        }
        let Some(results) = line.strip_prefix("test result: ") else { return false };
        for part in results.split(['.', ';']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", script]);
        sh
    }

    #[test]
    fn the_results_of_test_programs_are_added_up() {
        let mut tally = Tally::default();
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.1s";
        let mut out = Vec::new();
        let skipped = "SKIPPED t: missing: kubectl";
        let script =
            format!("echo '{skipped}' >&2; echo '{skipped}' >&2; echo '{line}'; echo '{line}'; exit 101");
        count(&mut sh(&script), &mut tally, &mut out).unwrap();
        assert_eq!((tally.passed, tally.failed, tally.skipped), (5, 2, 5));
        assert_eq!(
            String::from_utf8(out.clone()).unwrap(),
            format!("{skipped}\n{skipped}\n{line}\n{line}\n")
        );
        let error = count(&mut sh("exit 9"), &mut tally, &mut out).unwrap_err().to_string();
        assert!(error.contains('9'), "{error}");
        let error = count(&mut sh("exit 0"), &mut tally, &mut out).unwrap_err().to_string();
        assert!(error.contains("no test results"), "{error}");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (5, 2, 5));
    }

    #[test]
    fn the_summary_has_true_sums_and_ends_with_a_line_of_them() {
        let mut stages = Stages::new(4);
        assert!(stages.run("format", "a second", |_| Ok(())));
        assert!(!stages.run("lints", "a minute", |_| bail!("no")));
        stages.run("tests", "long", |tally| {
            let results = "test result: FAILED. 6 passed; 2 failed";
            let script = format!("echo 'SKIPPED a: missing: b' >&2; echo '{results}'; exit 1");
            count(&mut sh(&script), tally, &mut Vec::new())
        });
        stages.skip("containers", "no engine");
        stages.skip_part("schemas: not here");
        let text = stages.summary();
        assert!(text.ends_with("\n6 passed, 3 failed, 3 skipped\n"), "{text}");
        for line in [
            "failed: lints: no",
            "skipped: a: missing: b",
            "skipped: containers: no engine",
            "skipped: schemas: not here",
        ] {
            assert!(text.lines().any(|l| l == line), "{text}");
        }
        assert_eq!(format!("{:?}", stages.finish()), format!("{:?}", ExitCode::FAILURE));
    }
}
