//! Whose process a server is. PostgreSQL refuses root: where we are root, its programs run as user `postgres`.

use crate::{Error, at};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

/// The user that the packages of PostgreSQL create.
const USER: &str = "postgres";

/// Whose processes PostgreSQL's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Ours.
    Own,
    /// Those of user `postgres`, as we are root.
    Postgres { uid: u32, gid: u32 },
}

impl Account {
    pub fn for_postgres() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let id = |flag: &str| -> Option<u32> {
            let output = Command::new("id").args([flag, USER]).stderr(Stdio::null()).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        match (id("-u"), id("-g")) {
            (Some(uid), Some(gid)) => Ok(Self::Postgres { uid, gid }),
            _ => Err(Error::Missing(format!(
                "PostgreSQL refuses to run as root, and there is no user {USER}: run `sudo useradd --system {USER}`, or \
                 do not run as root"
            ))),
        }
    }

    /// A program that this account will run.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Own => Command::new(program),
            Self::Postgres { uid, gid } => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()]);
                command.arg(program);
                command
            }
        }
    }

    /// Lets the account pass through a folder of ours without reading it. Nobody else is let in.
    pub fn admit(self, folder: &Path) -> Result<(), Error> {
        match self {
            Self::Own => Ok(()),
            Self::Postgres { gid, .. } => chown(folder, None, Some(gid))
                .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o710)))
                .map_err(at(folder)),
        }
    }

    /// Makes a file or folder the account's own.
    pub(crate) fn give(self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Own => Ok(()),
            Self::Postgres { uid, gid } => chown(path, Some(uid), Some(gid)).map_err(at(path)),
        }
    }

    /// Fails where the account cannot reach a folder, because one above it is closed.
    pub(crate) fn check_reach(self, folder: &Path) -> Result<(), Error> {
        if self == Self::Own {
            return Ok(());
        }
        let mut test = self.command("test");
        let status = test.arg("-x").arg(folder).stdin(Stdio::null()).stderr(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(Error::Unreachable { user: USER, folder: folder.to_owned() }),
            Err(source) => Err(Error::Run { program: "setpriv", source }),
        }
    }
}
