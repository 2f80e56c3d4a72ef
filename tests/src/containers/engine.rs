//! The container engine, spoken to as at the command line.

use std::process::{Command, Output, Stdio};

/// An engine that runs, and the run of tests for which it is asked.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Begins the name of everything that this run makes.
    pub run: String,
    /// What `DOCKER_HOST` is set to; nothing leaves it as it is.
    pub host: Option<String>,
}

impl Engine {
    /// What marks everything that this run makes, as `docker run` and others are told.
    pub fn label(&self) -> String {
        format!("--label=mini-blog.test={}", self.run)
    }

    /// A command of `docker`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(args).envs(self.host.iter().map(|host| ("DOCKER_HOST", host))).stdin(Stdio::null());
        command
    }

    /// Runs a command of `docker`; the test fails where it fails. Gives back what it prints.
    pub async fn run(&self, args: &[&str]) -> String {
        printed(args, &self.output(args).await)
    }

    /// The same, for where nothing can be awaited.
    pub fn run_now(&self, args: &[&str]) -> String {
        printed(args, &self.output_now(args))
    }

    /// Runs a command of `docker`, however it ends.
    pub async fn output(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(self.command(args));
        command.kill_on_drop(true).output().await.unwrap_or_else(|e| panic!("docker cannot be run: {e}"))
    }

    /// The same, for where nothing can be awaited.
    pub fn output_now(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|e| panic!("docker cannot be run: {e}"))
    }
}

fn printed(args: &[&str], output: &Output) -> String {
    // Values of variables are nobody's business.
    let shown: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--env=")).copied().collect();
    assert!(output.status.success(), "docker {}: {}", shown.join(" "), said(output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Everything that a command has said.
pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}
