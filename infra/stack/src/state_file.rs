//! `stack.json`: addresses and process ids for scripts and tests. It exists while the stack runs.

use crate::files;
use crate::process_name::ProcessName;
use serde::{Deserialize, Serialize};
use shared::ServiceName;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// In the data folder.
pub const FILE_NAME: &str = "stack.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFile {
    /// The supervisor's process.
    pub pid: u32,
    pub address: String,
    /// Everything has been ready once.
    pub ready: bool,
    pub services: BTreeMap<ProcessName, ServiceEntry>,
    /// The process of the database server, while one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<u32>,
}

impl StackFile {
    /// The processes of a service, in the order of their numbers.
    pub fn replicas(&self, service: ServiceName) -> impl Iterator<Item = (ProcessName, &ServiceEntry)> {
        self.services
            .iter()
            .filter(move |(name, _)| name.service == service)
            .map(|(name, entry)| (*name, entry))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEntry {
    pub url: String,
    /// The address of its probes and metrics.
    pub admin: String,
    /// None while it does not run.
    pub pid: Option<u32>,
}

pub fn write(data_dir: &Path, content: &StackFile) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    files::replace(&data_dir.join(FILE_NAME), &text)
}

/// None if there is no file, or if its content is not understood.
pub fn read(data_dir: &Path) -> Option<StackFile> {
    let text = std::fs::read(data_dir.join(FILE_NAME)).ok()?;
    serde_json::from_slice(&text).ok()
}

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
            services: [(ServiceName::EventBus.into(), entry)].into(),
            database: Some(4),
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
