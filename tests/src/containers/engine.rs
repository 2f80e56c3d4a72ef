//! The container engine, through its command line.

use std::process::{Command, Output, Stdio};

/// A running engine, for one run of tests.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The prefix of every name that this run creates.
    pub run: String,
    /// The value of `DOCKER_HOST`; nothing leaves it unchanged.
    pub host: Option<String>,
}

impl Engine {
    /// The flag that labels everything that this run creates.
    pub fn label(&self) -> String {
        format!("--label=mini-blog.test={}", self.run)
    }

    /// A command of `docker`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(args).envs(self.host.iter().map(|host| ("DOCKER_HOST", host))).stdin(Stdio::null());
        command
    }

    /// Runs a command of `docker`, which must succeed; returns what it prints.
    pub async fn run(&self, args: &[&str]) -> String {
        printed(args, &self.output(args).await)
    }

    /// The same, where nothing can be awaited.
    pub fn run_now(&self, args: &[&str]) -> String {
        printed(args, &self.output_now(args))
    }

    /// Runs a command of `docker`, which may fail.
    pub async fn output(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(self.command(args));
        command.kill_on_drop(true).output().await.unwrap_or_else(|e| panic!("cannot run docker: {e}"))
    }

    /// The same, where nothing can be awaited.
    pub fn output_now(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|e| panic!("cannot run docker: {e}"))
    }
}

fn printed(args: &[&str], output: &Output) -> String {
    // Values of environment variables may be secrets.
    let shown: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--env=")).copied().collect();
    assert!(output.status.success(), "docker {}: {}", shown.join(" "), said(output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Everything that a command has printed.
pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}
