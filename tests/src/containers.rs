//! The services as containers, as their manifests describe them.
//!
//! The system tests run the program `mini-blog`, unless [`VARIABLE`] names a file with [`Images`]: then they run these.
//! `cargo xtask test-images` builds images and sets it.
//!
//! - [`engine`]: the container engine; [`network`]: a separate network for each deployment.
//! - [`deployment`]: the containers on it, which tests break and start again.

pub mod deployment;
pub mod engine;
pub mod network;

use serde::{Deserialize, Serialize};
use shared::ServiceName;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// The environment variable with the path of a file with [`Images`].
pub const VARIABLE: &str = "MINI_BLOG_IMAGES";

/// The containers by their service.
pub type Containers = BTreeMap<ServiceName, Container>;

/// The images under test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Images {
    /// The prefix and label of everything that the tests create.
    pub run: String,
    /// The containers in the manifests.
    pub containers: Containers,
}

/// A pod of one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Container {
    /// The service.
    pub service: ServiceName,
    /// The image, with its tag.
    pub image: String,
    /// The environment, with secrets.
    pub environment: BTreeMap<String, String>,
    /// The ports by name.
    pub ports: BTreeMap<String, u16>,
    /// The host names of the service.
    pub aliases: Vec<String>,
    /// The volumes: each claim with its mount path.
    pub volumes: Vec<(String, String)>,
    /// The port of the probes.
    pub probes: u16,
    /// How many seconds it has from SIGTERM to its end: the grace period without the pause before SIGTERM.
    pub grace: u64,
    /// The user and the group of its process.
    pub user: (u32, u32),
    /// Its security context and limits, as flags of `docker run`.
    pub security_flags: Vec<String>,
}

impl Images {
    /// The images to test instead of the program; nothing if [`VARIABLE`] is not set.
    pub fn chosen() -> Option<&'static Self> {
        static CHOSEN: OnceLock<Option<Images>> = OnceLock::new();
        let read = || {
            let file = std::env::var_os(VARIABLE).filter(|file| !file.is_empty())?;
            let text =
                std::fs::read(&file).unwrap_or_else(|e| panic!("{VARIABLE} names {}: {e}", file.display()));
            Some(serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
        };
        CHOSEN.get_or_init(read).as_ref()
    }

    /// Writes the file for [`VARIABLE`]. It contains secrets.
    pub fn write(&self, file: &Path) {
        let text = serde_json::to_vec(self).expect("JSON");
        std::fs::write(file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}
