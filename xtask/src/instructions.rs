//! How many instructions the hot paths take, compared with the recorded numbers. Other than times, these do not depend on
//! what else the machine does.

use crate::packages;
use crate::shell::{Shell, read, run, say};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// The program that runs the paths.
const PACKAGE: &str = "instructions";
/// The recorded numbers.
const RECORDED: &str = "tests/instructions/recorded.toml";
/// Where callgrind writes.
const COUNTS: &str = "target/instructions";
/// By how much a number may differ from the recorded one.
const TOLERANCE: f64 = 0.1;

/// How many instructions one run of each path takes.
type Counts = BTreeMap<String, u64>;

/// The recorded numbers, and what they were recorded with: another compiler or processor gives other ones.
#[derive(Debug, Deserialize)]
struct Recorded {
    with: String,
    instructions: Counts,
}

/// Counts, and records the numbers or compares them with the recorded ones.
pub fn run_all(shell: &Shell, record: bool) -> Result<()> {
    packages::install_counter(shell)?;
    let counts = count(shell)?;
    let with = with(shell)?;
    let file = shell.root().join(RECORDED);
    if record {
        let text = written(&Recorded { with, instructions: counts });
        return fs::write(&file, text).with_context(|| format!("cannot write {RECORDED}"));
    }
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {RECORDED}"))?;
    let recorded: Recorded = toml::from_str(&text).with_context(|| format!("cannot read {RECORDED}"))?;
    print!("{}", table(&recorded.instructions, &counts));
    if recorded.with != with {
        say(&format!("not compared: the numbers were recorded with {}, and this is {with}", recorded.with));
        return Ok(());
    }
    compare(&recorded.instructions, &counts)
}

fn with(shell: &Shell) -> Result<String> {
    let rustc = read(shell.command("rustc").arg("--version")).context("cannot run rustc")?;
    let version = rustc.split(' ').nth(1).context("rustc does not name its version")?;
    Ok(format!("rustc {version} for {ARCH}"))
}

/// Runs the paths in callgrind, which writes a file at each mark of the program.
fn count(shell: &Shell) -> Result<Counts> {
    run(
        "build the program that runs the hot paths",
        shell.cargo().args(["build", "--release", "--package", PACKAGE]),
    )?;
    let folder = shell.root().join(COUNTS);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {COUNTS}"))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {COUNTS}"))?;
    let mut valgrind = shell.command("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--dump-before=getppid"]);
    valgrind.arg(format!("--callgrind-out-file={}", folder.join("counts").display()));
    valgrind.arg(shell.root().join("target/release").join(PACKAGE));
    say("run the hot paths in callgrind (usually 10 s)");
    // Its log lines are counted, and nobody reads them.
    let output = valgrind.stdout(Stdio::null()).output().context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the hot paths failed ({}):\n{said}", output.status);
    counts(&said, |mark| total(&folder, mark))
}

/// The counts of the paths that the program lists as `RUNS NAME`. The file of an odd mark has what came before a path, the
/// file of an even mark the path.
fn counts(listed: &str, total: impl Fn(usize) -> Result<u64>) -> Result<Counts> {
    let paths = listed.lines().filter_map(|line| {
        let (runs, name) = line.split_once(' ')?;
        Some((runs.parse::<u64>().ok().filter(|runs| *runs > 0)?, name))
    });
    let counts = paths.enumerate().map(|(at, (runs, name))| Ok((name.to_owned(), total(2 * at + 2)? / runs)));
    let counts = counts.collect::<Result<Counts>>()?;
    ensure!(!counts.is_empty(), "the program lists no path:\n{listed}");
    Ok(counts)
}

/// All instructions that the file of a mark has counted.
fn total(folder: &Path, mark: usize) -> Result<u64> {
    let file = folder.join(format!("counts.{mark}"));
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .with_context(|| format!("no total in {}", file.display()))
}

fn written(recorded: &Recorded) -> String {
    let mut text = format!(
        "# How many instructions one run of each hot path takes. `cargo xtask instructions` compares, \
         `cargo xtask instructions --record`\n# writes this file.\nwith = \"{}\"\n\n[instructions]\n",
        recorded.with
    );
    for (name, count) in &recorded.instructions {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\"{name}\" = {count}");
    }
    text
}

fn change(recorded: u64, now: u64) -> f64 {
    now as f64 / recorded as f64 - 1.0
}

fn table(recorded: &Counts, now: &Counts) -> String {
    let mut text = format!("{:<52} {:>12} {:>12} {:>8}\n", "instructions", "recorded", "now", "change");
    for (name, now) in now {
        let _ = match recorded.get(name) {
            Some(before) => {
                writeln!(text, "{name:<52} {before:>12} {now:>12} {:>+7.1}%", 100.0 * change(*before, *now))
            }
            None => writeln!(text, "{name:<52} {:>12} {now:>12}", "-"),
        };
    }
    text
}

/// Fails where a path takes more or less than recorded, or where the paths are others.
fn compare(recorded: &Counts, now: &Counts) -> Result<()> {
    let names = |counts: &Counts| counts.keys().cloned().collect::<Vec<_>>();
    let again = "`cargo xtask instructions --record` records them";
    ensure!(names(recorded) == names(now), "the recorded paths are others: {again}");
    let differs = |(name, now): (&String, &u64)| {
        let change = change(recorded[name], *now);
        (change.abs() > TOLERANCE).then(|| format!("{name}: {:+.1}%", 100.0 * change))
    };
    let differing: Vec<_> = now.iter().filter_map(differs).collect();
    if differing.is_empty() {
        return Ok(());
    }
    bail!(
        "not the recorded numbers of instructions; where that is intended, {again}: {}",
        differing.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: [u64; 2]) -> Counts {
        ["a b", "c"].map(str::to_owned).into_iter().zip(numbers).collect()
    }

    #[test]
    fn each_path_has_the_count_of_its_second_mark_divided_by_its_runs() {
        let total = |mark: usize| Ok([0, 7, 1000, 8, 60][mark]);
        assert_eq!(counts("100 a b\n==1== a warning\n5 c\n", total).unwrap(), of([10, 12]));
        assert!(counts("", total).is_err());
    }

    #[test]
    fn what_differs_by_more_than_a_tenth_is_named() {
        let recorded = of([1000, 2000]);
        compare(&recorded, &of([1099, 1801])).unwrap();
        for other in [of([1101, 2000]), of([899, 2000])] {
            let error = compare(&recorded, &other).unwrap_err().to_string();
            assert!(error.contains("a b: ") && !error.contains("c: "), "{error}");
        }
        let fewer = recorded.iter().take(1).map(|(name, count)| (name.clone(), *count)).collect();
        assert!(compare(&recorded, &fewer).is_err());
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let recorded = Recorded { with: "rustc 1".to_owned(), instructions: of([1, 2]) };
        let read: Recorded = toml::from_str(&written(&recorded)).unwrap();
        assert_eq!((read.with, read.instructions), (recorded.with, recorded.instructions));
    }
}
