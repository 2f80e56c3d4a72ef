//! The system tests, run against the images.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use system_tests::containers::{Images, VARIABLE};
use system_tests::program;
use tokio::process::{Child, Command};

/// Its test programs that are not about the images, and why.
const LEFT_OUT: [(&str, &str); 4] = [
    ("faults", "it adds a proxy to every connection of processes that it starts itself"),
    ("abuse", "its clients are addresses of this machine, which containers do not see"),
    ("hostile_subscribers", "it starts the bus alone and without secrets, as no manifest does"),
    ("program", "it tests the program `mini-blog`, which no image contains"),
];

/// Runs every test, or those whose name contains the filter, and panics if one fails. The data of failed tests stays in
/// the folder.
pub async fn holds(images: &Images, host: Option<&str>, filter: Option<&str>, folder: &Path) {
    let file = folder.join("images.json");
    images.write(&file);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tests = Command::new(cargo);
    // Their names are theirs alone; with the dependencies of the whole workspace nothing is compiled a second time.
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    tests.args(programs().iter().flat_map(|program| ["--test", program])).args(filter);
    tests.env(VARIABLE, &file).env("TMPDIR", folder).envs(host.map(|host| ("DOCKER_HOST", host)));
    let mut running = Group::start(tests.current_dir(program::root()).stdin(Stdio::null()));
    let status = running.end().await;
    // It contains secrets.
    fs::remove_file(file).expect("a file of ours");
    assert!(status.success(), "system tests failed; their data is in {}", folder.display());
}

/// Every test program of the package except those in `LEFT_OUT`.
fn programs() -> Vec<String> {
    let folder = program::root().join("tests/tests");
    let entries = fs::read_dir(folder).expect("the tests").map(|entry| entry.expect("an entry").path());
    let name = |path: &Path| path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
    let mut programs: Vec<_> = entries.map(|path| name(&path)).collect();
    programs.sort();
    for (left_out, why) in LEFT_OUT {
        let place = programs.iter().position(|program| program == left_out);
        programs.remove(place.unwrap_or_else(|| panic!("the test program {left_out} does not exist")));
        println!("    left out: {left_out}: {why}");
    }
    programs
}

/// A process group: what cargo starts does not outlive cargo.
struct Group(Child);

impl Group {
    fn start(command: &mut Command) -> Self {
        Self(command.process_group(0).spawn().expect("cargo runs"))
    }

    async fn end(&mut self) -> ExitStatus {
        self.0.wait().await.expect("its end")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // None once it has been waited for.
        let pid = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // It may have just ended.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
