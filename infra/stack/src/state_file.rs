//! `stack.json`: where everything is, for scripts and tests. There while the stack runs.

use crate::files;
use serde::{Deserialize, Serialize};
use shared::ServiceName;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The name of the file in the data folder.
pub const FILE_NAME: &str = "stack.json";

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFile {
    /// The supervisor's process.
    pub pid: u32,
    /// Where the site is.
    pub address: String,
    /// Whether everything was ready once.
    pub ready: bool,
    /// Every service by name.
    pub services: BTreeMap<ServiceName, ServiceEntry>,
}

/// Where one service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEntry {
    /// Where it is spoken to.
    pub url: String,
    /// Where its probes and metrics are.
    pub admin: String,
    /// Its process; nothing while it does not run.
    pub pid: Option<u32>,
}

/// Writes the file.
pub fn write(data_dir: &Path, content: &StackFile) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    files::replace(&data_dir.join(FILE_NAME), &text)
}

/// Reads the file; nothing where there is none, or none of ours.
pub fn read(data_dir: &Path) -> Option<StackFile> {
    let text = std::fs::read(data_dir.join(FILE_NAME)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Takes the file away: the stack has stopped, and left nothing behind that runs.
pub fn remove(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(data_dir.join(FILE_NAME)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let entry = ServiceEntry {
            url: "http://127.0.0.1:1".into(),
            admin: "http://127.0.0.1:2".into(),
            pid: Some(3),
        };
        let file = StackFile {
            pid: 1,
            address: "http://127.0.0.1:1".into(),
            ready: true,
            services: [(ServiceName::EventBus, entry)].into(),
        };
        write(dir.path(), &file).unwrap();
        assert_eq!(read(dir.path()), Some(file));
        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        assert!(text.contains("\"event-bus\""), "{text}");
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
