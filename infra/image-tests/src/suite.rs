//! The system tests, run against the images.

use futures_util::stream::{self, StreamExt};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Instant;
use system_tests::containers::engine::said;
use system_tests::containers::{Images, VARIABLE};
use system_tests::program;
use tokio::process::Command;

/// What is left out, and why: a test program, or of one the tests whose name contains one of these.
const LEFT_OUT: [(&str, &[&str], &str); 7] = [
    ("faults", &[], "it adds a proxy to every connection of processes that it starts itself"),
    ("abuse", &[], "its clients are addresses of this machine, which containers do not see"),
    ("hostile_subscribers", &[], "it starts the bus alone and without secrets, as no manifest does"),
    ("program", &[], "it tests the program `mini-blog`, which no image contains"),
    ("course", &[], "what the services answer does not depend on where they run"),
    ("front_door", &["api::"], "what the services answer does not depend on where they run"),
    (
        "browser",
        &["connections::", "forms::", "threads::", "a_page_that_misbehaves"],
        "what the islands do does not depend on where the site comes from",
    ),
];
/// The test program that takes a browser. It runs alone, one test after the other: Chromium gives its requests up whenever
/// an address of this machine comes or goes (`ERR_NETWORK_CHANGED`), and each deployment brings a network of its own.
const BROWSER: &str = "browser";
/// How many of the other test programs run at the same time. Each runs as many tests as the machine has processors, and each test has
/// containers of its own: most of the time they wait for the engine.
const AT_ONCE: usize = 2;

/// What to run, and against what.
pub struct Suite<'a> {
    pub images: &'a Images,
    /// The address of the engine, where it is not the usual one.
    pub host: Option<&'a str>,
    /// The built test programs of the package.
    pub programs: &'a [PathBuf],
    /// Run only the tests whose name contains this.
    pub filter: Option<&'a str>,
    /// For the data of the tests. That of failed ones stays.
    pub folder: &'a Path,
}

impl Suite<'_> {
    /// Runs the tests, and panics if one fails.
    pub async fn holds(&self) {
        let file = self.folder.join("images.json");
        self.images.write(&file);
        let (alone, others): (Vec<_>, Vec<_>) =
            self.chosen().into_iter().partition(|(name, _)| name == BROWSER);
        let mut failed = Vec::new();
        for (name, program) in alone {
            failed.extend(self.run(name, program, &file).await);
        }
        let others: Vec<_> = stream::iter(others)
            .map(|(name, program)| self.run(name, program, &file))
            .buffer_unordered(AT_ONCE)
            .filter_map(async |failed| failed)
            .collect()
            .await;
        failed.extend(others);
        // It contains secrets.
        fs::remove_file(file).expect("a file of ours");
        let folder = self.folder.display();
        assert!(failed.is_empty(), "system tests of {} failed; their data is in {folder}", failed.join(", "));
    }

    /// Every test program of the package except those in `LEFT_OUT`, by name.
    fn chosen(&self) -> Vec<(String, &Path)> {
        let mut programs: Vec<_> = self.programs.iter().map(|file| (name(file), file.as_path())).collect();
        programs.sort();
        let entries = fs::read_dir(program::root().join("tests/tests")).expect("the tests");
        let mut sources: Vec<_> = entries.map(|entry| name(&entry.expect("an entry").path())).collect();
        sources.sort();
        let built: Vec<_> = programs.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(built, sources, "the test programs are not those of the package");
        for (left_out, tests, why) in LEFT_OUT {
            let place = programs.iter().position(|(name, _)| name == left_out);
            let place = place.unwrap_or_else(|| panic!("the test program {left_out} does not exist"));
            if tests.is_empty() {
                programs.remove(place);
            }
            println!("    left out: {left_out} {}: {why}", tests.join(" "));
        }
        programs
    }

    /// Runs a test program, and prints what it has printed. Returns its name if it failed.
    async fn run(&self, name: String, program: &Path, images: &Path) -> Option<String> {
        let mut tests = Command::new(program);
        let left_out = LEFT_OUT.iter().filter(|(of, _, _)| *of == name && self.filter.is_none());
        let left_out = left_out.flat_map(|(_, tests, _)| *tests);
        tests.args(left_out.flat_map(|test| ["--skip", test]));
        if name == BROWSER {
            tests.arg("--test-threads=1");
        }
        tests.args(self.filter).env(VARIABLE, images).env("TMPDIR", self.folder);
        tests.envs(self.host.map(|host| ("DOCKER_HOST", host)));
        tests.current_dir(program::root().join("tests"));
        let begun = Instant::now();
        let output = run_to_its_end(&mut tests).await;
        println!("    {name} ({:.1} s)\n{}", begun.elapsed().as_secs_f64(), said(&output));
        (!output.status.success()).then_some(name)
    }
}

/// The name of a test program: without the hash that cargo appends, and without an ending.
fn name(file: &Path) -> String {
    let stem = file.file_stem().expect("a name").to_str().expect("UTF-8");
    stem.rsplit_once('-').map_or(stem, |(name, _)| name).to_owned()
}

/// Runs a program to its end. What it starts does not outlive it: where this is given up, its process group is killed.
async fn run_to_its_end(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).spawn().expect("the test program runs");
    let mut group = Group(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())));
    let output = child.wait_with_output().await.expect("its end");
    group.0 = None;
    output
}

struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have just ended.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
