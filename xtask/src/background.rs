//! A build while tests run, which mostly wait.

use crate::shell::{Shell, say};
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};

/// A task of this program in another process.
#[derive(Debug)]
pub struct Background {
    child: Child,
    /// What it prints.
    log: PathBuf,
}

impl Background {
    /// Starts a task such as `build`. It runs only where nothing else would: tests are not slowed down.
    pub fn start<S: AsRef<OsStr>>(
        shell: &Shell,
        task: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let log = shell.root().join(format!("target/{task}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let this = this_program()?;
        let mut command = match shell.find("chrt") {
            Some(chrt) => {
                let mut command = shell.command(chrt);
                command.args(["--idle", "0"]).arg(this);
                command
            }
            // Not on Linux.
            None => Command::new(this),
        };
        command.arg(task).args(args).stdin(Stdio::null());
        command.stdout(output.try_clone().context("cannot share a file")?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {task}"))?;
        say(&format!("{task} runs in the background; its output is in {}", log.display()));
        Ok(Self { child, log })
    }

    /// Waits for its end. The error contains what it has printed.
    pub fn end(mut self) -> Result<()> {
        let status = self.child.wait().context("cannot wait for what runs in the background")?;
        if status.success() {
            return Ok(());
        }
        bail!("{status}:\n{}", fs::read_to_string(&self.log).unwrap_or_default())
    }
}

/// A path at which this program can be started again. Building the workspace has replaced its file by another one.
fn this_program() -> Result<PathBuf> {
    let running = PathBuf::from(format!("/proc/{}/exe", process::id()));
    if running.exists() { Ok(running) } else { env::current_exe().context("this program has no path") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_what_fails_is_in_the_error() {
        let shell = Shell::new().unwrap();
        // This test program is its own task.
        let task = |name| Background::start(&shell, name, ["--list"]).unwrap();
        task("background::tests::no_such_test").end().unwrap();
        let wrong = Background::start(&shell, "--no-such-flag", [""; 0]).unwrap();
        let error = wrong.end().unwrap_err().to_string();
        assert!(error.contains("no-such-flag"), "{error}");
    }
}
