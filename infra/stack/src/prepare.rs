//! Preflight checks: the data folder, the secrets, the site, and no leftovers of an earlier run.

use crate::control::ControlError;
use crate::engine::EngineError;
use crate::files;
use crate::labels::Output;
use crate::plan::PlanError;
use crate::secrets::{self, Secrets, SecretsError};
use crate::service_supervisor::STOP_LIMIT;
use crate::state_file;
use kit::runtime::deps::Deps;
use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A running stack holds the lock of this file.
const LOCK_FILE: &str = "stack.lock";
/// How often leftovers are checked.
const LOOK_EVERY: Duration = Duration::from_millis(25);

#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("cannot open the data directory {}: {source}", .path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("a stack is already running on {}: see `mini-blog status`, or stop it with Ctrl-C in its terminal", .0.display())]
    Running(PathBuf),
    #[error(
        "the site is not built (searched {0}): run `cargo xtask up`, or name its folder with --site-root"
    )]
    NoSite(String),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Database(#[from] servers::Error),
    #[error("{0}: {1}")]
    System(&'static str, String),
}

/// Locks the folder for as long as the returned file is open.
pub fn lock(data_dir: &Path) -> Result<File, UpError> {
    let failed = |source| UpError::DataDir { path: data_dir.to_owned(), source };
    files::private_dir(data_dir).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data_dir.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(UpError::Running(data_dir.to_owned())),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Reads the secrets, generates missing ones, and reports both.
pub fn open_secrets(data_dir: &Path, deps: &Deps, output: &Output) -> Result<Secrets, UpError> {
    let (secrets, opened) = Secrets::open(data_dir, &*deps.ids)?;
    let path = data_dir.join(secrets::FILE_NAME);
    if opened.was_public {
        output.say(&format!(
            "others could read {}; now only you can. If somebody may have read it, delete it to get new secrets.",
            path.display()
        ));
    }
    if !opened.generated.is_empty() {
        output.say(&format!("generated {} in {}", opened.generated.join(", "), path.display()));
    }
    Ok(secrets)
}

/// The folders in which the site may be: beside the program, and where cargo-leptos builds it.
pub fn default_site_roots() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join("site"));
    beside.into_iter().chain([PathBuf::from("target/site")]).collect()
}

/// The folder of the built site: the named one, or the first that exists.
pub fn find_site(named: Option<PathBuf>, defaults: &[PathBuf]) -> Result<PathBuf, UpError> {
    let candidates = named.map_or_else(|| defaults.to_vec(), |root| vec![root]);
    let found = candidates.iter().find(|root| root.is_dir()).and_then(|root| std::path::absolute(root).ok());
    let searched = || candidates.iter().map(|r| r.display().to_string()).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| UpError::NoSite(searched()))
}

/// Waits for the services of a supervisor that was killed: they stop by themselves, and use their ports and files until
/// then.
pub async fn wait_for_leftovers(data_dir: &Path, output: &Output) {
    let Some(file) = state_file::read(data_dir) else { return };
    let addresses: Vec<SocketAddr> = file
        .services
        .values()
        .filter(|s| s.pid.is_some())
        .filter_map(|s| s.url.strip_prefix("http://")?.parse().ok())
        .collect();
    let until = Instant::now() + STOP_LIMIT;
    let mut said = false;
    for address in addresses {
        while TcpStream::connect(address).await.is_ok() && Instant::now() < until {
            if !said {
                said = true;
                output.say("the previous run was killed; waiting for its services to end");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_file::{ServiceEntry, StackFile};
    use shared::ServiceName;

    #[test]
    fn a_folder_is_taken_by_one_stack_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("a stack is already running on"), "{error}");
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = lock(Path::new("/proc/no/such")).unwrap_err().to_string();
        assert!(error.starts_with("cannot open the data directory /proc/no/such:"), "{error}");
    }

    #[test]
    fn the_site_is_found_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().to_owned();
        let missing = dir.path().join("missing");
        assert_eq!(find_site(None, &[missing.clone(), there.clone()]).unwrap(), there);
        assert_eq!(find_site(Some(there.clone()), &[]).unwrap(), there);
        let error = find_site(Some(missing), &[there]).unwrap_err().to_string();
        assert!(error.contains("missing") && error.contains("cargo xtask up"), "{error}");
    }

    #[tokio::test]
    async fn what_an_earlier_run_left_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let entry = ServiceEntry { url: url.clone(), admin: url.clone(), pid: Some(1) };
        let services = [(ServiceName::Posts.into(), entry)].into();
        let file = StackFile { pid: 1, address: url, ready: true, services, database: None };
        state_file::write(dir.path(), &file).unwrap();
        let (output, _writer) = Output::to(io::sink(), false);
        let started = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(listener);
        });
        wait_for_leftovers(dir.path(), &output).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    }
}
