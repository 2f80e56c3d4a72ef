//! Running other programs.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use tools_dir::{folder_of, tools_dir};

/// Where and with what search path programs run.
#[derive(Debug)]
pub struct Shell {
    root: PathBuf,
    tools: PathBuf,
    path: OsString,
}

/// Prints a line about what happens now.
pub fn say(text: &str) {
    eprintln!("==> {text}");
}

/// Steps of something that takes minutes: each is announced with its number and how long it usually takes.
#[derive(Debug)]
pub struct Steps {
    all: usize,
    begun: usize,
}

impl Steps {
    pub fn new(all: usize) -> Self {
        Self { all, begun: 0 }
    }

    pub fn next(&mut self, what: &str, usually: &str) {
        self.begun += 1;
        say(&format!("step {} of {}: {what} (usually {usually})", self.begun, self.all));
    }
}

impl Shell {
    /// Programs run in the root of the workspace. The search path begins with the tools of mini-blog and ends with
    /// cargo's.
    pub fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not in a workspace")?;
        let tools = tools_dir(root);
        let cargo_home = folder_of("CARGO_HOME").or_else(|| Some(env::home_dir()?.join(".cargo")));
        let cargo_bin = cargo_home.map(|home| home.join("bin"));
        let own = [tools.join("bin"), tools.join("node_modules/.bin")];
        let usual = env::var_os("PATH").unwrap_or_default();
        let all = own.into_iter().chain(env::split_paths(&usual)).chain(cargo_bin);
        let path = env::join_paths(all).context("the search path cannot be used")?;
        Ok(Self { root: root.to_owned(), tools, path })
    }

    /// The root of the workspace.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the tools that are installed for mini-blog alone.
    pub fn tools_dir(&self) -> &Path {
        &self.tools
    }

    /// The program of this name that would run.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.path).map(|dir| dir.join(name)).find(|file| is_executable(file))
    }

    /// A program, to be run in the root of the workspace. Cargo builds into its `target`, whatever the environment
    /// says.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let found = program.to_str().and_then(|name| self.find(name));
        let mut command = Command::new(found.as_deref().map_or(program, Path::as_os_str));
        command.current_dir(&self.root).env("PATH", &self.path);
        command.env("CARGO_TARGET_DIR", self.root.join("target"));
        command
    }

    /// The cargo that runs this program.
    pub fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }
}

/// Whether `CI` is set: then nothing may be missing without a word.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| !ci.is_empty())
}

/// Prints the step and its command, and runs it to its end. `step` is an imperative: "install wasm-opt".
pub fn run(step: &str, command: &mut Command) -> Result<()> {
    say(&format!("{step}: {}", line(command)));
    succeed(&format!("cannot {step}"), command)
}

/// Runs a program to its end; where that fails, the error is this sentence with the program's status.
pub fn succeed(or_else: &str, command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{or_else} ({status})");
    }
    Ok(())
}

/// What a program prints; nothing where it cannot be run or fails.
pub fn read(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Replaces this process by another program: signals and the exit code are that one's. Returns only on failure.
pub fn exec(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_and_read() {
        let shell = Shell::new().unwrap();
        assert!(shell.find("sh").is_some() && shell.find("no-such-program").is_none());
        assert_eq!(read(shell.command("sh").args(["-c", "echo hello"])).as_deref(), Some("hello"));
        assert_eq!(read(shell.command("sh").args(["-c", "echo hello; exit 1"])), None);
        assert_eq!(read(&mut shell.command("no-such-program")), None);
        assert!(shell.root().join("Cargo.lock").exists());
    }

    #[test]
    fn a_step_that_fails_says_which() {
        let shell = Shell::new().unwrap();
        let error = run("try it", shell.command("sh").args(["-c", "exit 7"])).unwrap_err().to_string();
        assert!(error.starts_with("cannot try it (") && error.contains('7'), "{error}");
    }

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        assert_eq!(
            line(Command::new("/usr/bin/cargo").args(["build", "--release"])),
            "cargo build --release"
        );
    }
}
