//! Packs images and lists their files.

use shared::ServiceName;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use system_tests::containers::engine::{Engine, said};
use tokio::process::Command;

const PACK: &str = "infra/docker/fast.Dockerfile";
/// Where `cargo xtask image-files` writes the files of the images.
const FILES: &str = "target/images";

/// A file, folder or link of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without a slash at the start or the end.
    pub path: String,
    /// As `ls` shows it: `-rwxr-xr-x`.
    pub mode: String,
    /// `65532/65532`.
    pub owner: String,
    /// In bytes.
    pub size: u64,
}

impl Entry {
    /// Whether it is an executable file.
    pub fn is_program(&self) -> bool {
        self.mode.starts_with('-') && self.mode.contains('x')
    }
}

/// Compiles the programs and writes the files of all images.
pub async fn lay_out(root: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut xtask = Command::new(cargo);
    xtask.args(["xtask", "image-files"]).current_dir(root).stdin(Stdio::null()).kill_on_drop(true);
    let status = xtask.status().await.expect("cargo runs");
    assert!(status.success(), "the images' files cannot be built ({status})");
}

pub fn folder(root: &Path, service: ServiceName) -> PathBuf {
    root.join(FILES).join(service.as_str())
}

/// Builds an image with this name.
pub async fn pack(engine: &Engine, root: &Path, service: ServiceName, name: &str) {
    let (file, folder) = (root.join(PACK), folder(root, service));
    let paths = [&file, &folder].map(|path| path.to_str().expect("a path in UTF-8"));
    let label = engine.label();
    engine
        .run(&["build", "--quiet", "--force-rm", &label, "--file", paths[0], "--tag", name, paths[1]])
        .await;
}

/// All files of an image.
pub async fn entries(engine: &Engine, image: &str) -> Vec<Entry> {
    let container = engine.run(&["create", &engine.label(), image]).await;
    let mut export = tokio::process::Command::from(engine.command(&["export", &container]));
    let mut export = export.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("docker runs");
    let archive: Stdio = export.stdout.take().expect("its output").try_into().expect("a pipe");
    let mut tar = Command::new("tar");
    tar.args(["--list", "--verbose", "--numeric-owner"]).stdin(archive).kill_on_drop(true);
    let listing = tar.output().await.expect("tar runs");
    assert!(listing.status.success(), "the image {image} cannot be listed: {}", said(&listing));
    export.wait().await.expect("its end");
    engine.run(&["rm", "--force", &container]).await;
    String::from_utf8_lossy(&listing.stdout).lines().map(entry).collect()
}

/// `-rwxr-xr-x 0/0  10484 2026-11-20 14:00 service`
fn entry(line: &str) -> Entry {
    let words: Vec<_> = line.split_whitespace().collect();
    let [mode, owner, size, _date, _time, path, ..] = words[..] else { panic!("tar says {line:?}") };
    Entry {
        path: path.trim_matches('/').to_owned(),
        mode: mode.to_owned(),
        owner: owner.to_owned(),
        size: size.parse().unwrap_or(0),
    }
}
