//! The services as containers, as their manifests describe them.
//!
//! The tests of the system try the program `mini-blog`, unless [`VARIABLE`] names a file with [`Images`]: then they try
//! these. `cargo xtask test-images` builds images and says so.
//!
//! - [`engine`]: how the container engine is spoken to; [`network`]: a network of its own for each deployment.
//! - [`deployment`]: the containers on it, broken and made whole again.

pub mod deployment;
pub mod engine;
pub mod network;

use serde::{Deserialize, Serialize};
use shared::ServiceName;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// Names the file that says which images are tried.
pub const VARIABLE: &str = "MINI_BLOG_IMAGES";

/// The containers by their service.
pub type Containers = BTreeMap<ServiceName, Container>;

/// What is tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Images {
    /// Begins the name of everything that is made, and labels it.
    pub run: String,
    /// What the manifests say.
    pub containers: Containers,
}

/// What a pod of one container is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Container {
    /// Which service it is.
    pub service: ServiceName,
    /// Its image, with the tag.
    pub image: String,
    /// Its environment, secrets included.
    pub environment: BTreeMap<String, String>,
    /// Its ports by name.
    pub ports: BTreeMap<String, u16>,
    /// The names by which the others reach it.
    pub aliases: Vec<String>,
    /// Its volumes: the claim, and where it stands.
    pub volumes: Vec<(String, String)>,
    /// The port where its probes are.
    pub probes: u16,
    /// How long it has from SIGTERM to its end, in seconds: what the pause before leaves of the grace period.
    pub grace: u64,
    /// The user and the group that it runs as.
    pub user: (u32, u32),
    /// What of its security context and its limits `docker run` can be told.
    pub walls: Vec<String>,
}

impl Images {
    /// The images that are to be tried instead of the program; nothing where none are named.
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

    /// Writes the file that [`VARIABLE`] is to name. Secrets are in it.
    pub fn write(&self, file: &Path) {
        let text = serde_json::to_vec(self).expect("JSON");
        std::fs::write(file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}
