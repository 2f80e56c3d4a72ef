//! Running other programs: each step says what it does.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where and with what search path programs run.
#[derive(Debug)]
pub struct Shell {
    root: PathBuf,
    cargo_home: Option<PathBuf>,
    path: OsString,
}

/// Says that a step begins, or that it was done already.
pub fn say(text: &str) {
    eprintln!("==> {text}");
}

impl Shell {
    /// Programs run in the workspace; the tools that were installed for it alone are found first.
    pub fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in no workspace")?;
        let cargo_home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        let own = [root.join("target/tools/bin"), root.join("target/tools/node_modules/.bin")];
        let usual = env::var_os("PATH").unwrap_or_default();
        let usual: Vec<_> = env::split_paths(&usual).collect();
        let cargo_bin = cargo_home.as_ref().map(|home| home.join("bin"));
        let all = own.into_iter().chain(usual).chain(cargo_bin);
        let path = env::join_paths(all).context("the search path cannot be used")?;
        Ok(Self { root: root.to_owned(), cargo_home, path })
    }

    /// The folder of the workspace.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where tools go that serve this workspace alone.
    pub fn tools_dir(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// Where cargo installs programs.
    pub fn cargo_home(&self) -> Option<&Path> {
        self.cargo_home.as_deref()
    }

    /// A search path with this folder in front of all others.
    pub fn path_with(&self, first: &Path) -> Result<OsString> {
        let all = std::iter::once(first.to_owned()).chain(env::split_paths(&self.path));
        env::join_paths(all).context("the search path cannot be used")
    }

    /// The program of this name that would be run.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.path).map(|dir| dir.join(name)).find(|file| is_executable(file))
    }

    /// A program, to be run in the workspace. Whatever is built goes where the rest of xtask looks for it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let found = program.to_str().and_then(|name| self.find(name));
        let mut command = Command::new(found.as_deref().map_or(program, Path::as_os_str));
        command.current_dir(&self.root).env("PATH", &self.path);
        command.env("CARGO_TARGET_DIR", self.root.join("target"));
        command
    }

    /// The cargo that runs us.
    pub fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }
}

/// Runs a step to its end; fails where the program does.
pub fn run(step: &str, command: &mut Command) -> Result<()> {
    say(&format!("{step}: {}", line(command)));
    let status =
        command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("could not {step} ({status})");
    }
    Ok(())
}

/// What a program prints; nothing where it cannot be run or fails.
pub fn read(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
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
        assert!(error.starts_with("could not try it") && error.contains('7'), "{error}");
    }

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        assert_eq!(
            line(Command::new("/usr/bin/cargo").args(["build", "--release"])),
            "cargo build --release"
        );
    }
}
