//! What is in the images: static programs, built here, and the site.

use crate::shell::{Shell, read, run, say};
use crate::{site, tools};
use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};

/// Each service is a program of its own, and an image of its own.
pub const SERVICES: [&str; 6] = ["event-bus", "posts", "comments", "moderation", "query", "frontend"];
/// Where the images' files are put together: a folder for each service, and in it the root folder of the image and
/// the folder that its data volume begins as.
const IMAGES: &str = "target/images";
/// Packs such a folder.
const PACK: &str = "infra/docker/fast.Dockerfile";

/// Installs what building the images' files needs beyond what the site needs. Returns the target they are compiled for.
pub fn prepare(shell: &Shell) -> Result<String> {
    let target = target(env::consts::OS, env::consts::ARCH, None)?;
    tools::install_for_images(shell, &target)?;
    Ok(target)
}

/// Builds all programs and the site, and lays them out as the images have them.
pub fn files(shell: &Shell) -> Result<()> {
    let target = prepare(shell)?;
    site::build(shell)?;
    let mut build = shell.cargo();
    build.args(["auditable", "build", "--release", "--locked", "--target", &target]);
    build.args(SERVICES.iter().flat_map(|service| ["--package", service]));
    run("build the images' programs", &mut build)?;
    for service in SERVICES {
        lay_out(shell, &target, service).with_context(|| format!("cannot lay out the image of {service}"))?;
    }
    say(&format!("the images' files are in {IMAGES}"));
    Ok(())
}

/// Builds the image of one service from what this machine compiles. Skaffold sets the name (`IMAGE`), whether to push it
/// (`PUSH_IMAGE`), and the platform (`PLATFORMS`) in the environment.
pub fn build(shell: &Shell, service: &str) -> Result<()> {
    if !SERVICES.contains(&service) {
        bail!("there is no image of {service:?}: it must be one of {}", SERVICES.join(", "));
    }
    target(env::consts::OS, env::consts::ARCH, env::var("PLATFORMS").ok().as_deref())?;
    files(shell)?;
    let name = env::var("IMAGE").unwrap_or_else(|_| format!("mini-blog/{service}"));
    let mut pack = shell.command("docker");
    pack.args(["build", "--file", PACK, "--tag", &name]);
    pack.args(labels(shell, service)).arg(format!("{IMAGES}/{service}"));
    run("pack the image", &mut pack)?;
    if env::var("PUSH_IMAGE").is_ok_and(|push| push == "true") {
        run("push the image", shell.command("docker").args(["push", &name]))?;
    }
    Ok(())
}

/// The labels of an image, as far as they are known here.
fn labels(shell: &Shell, service: &str) -> Vec<String> {
    let revision = read(shell.command("git").args(["rev-parse", "HEAD"]));
    let labels = [
        ("title", Some(service.to_owned())),
        ("vendor", Some("mini-blog".to_owned())),
        ("licenses", Some(env!("CARGO_PKG_LICENSE").to_owned())),
        ("version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("revision", revision),
    ];
    let known = labels.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known.map(|(name, value)| format!("--label=org.opencontainers.image.{name}={value}")).collect()
}

/// The target to compile for: this machine's own architecture, with a static C library. Another one needs the multi-stage
/// Dockerfile.
fn target(os: &str, arch: &str, platforms: Option<&str>) -> Result<String> {
    let docker = match arch {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => other,
    };
    let wanted = platforms.filter(|p| !p.is_empty()).unwrap_or(docker);
    if os != "linux" || wanted != docker {
        bail!(
            "a {os} machine with {arch} cannot build for {wanted}: use infra/docker/Dockerfile, which needs only \
             Docker"
        );
    }
    Ok(format!("{arch}-unknown-linux-musl"))
}

/// Puts the files of one image where [`PACK`] takes them from.
fn lay_out(shell: &Shell, target: &str, service: &str) -> Result<()> {
    let folder = shell.root().join(IMAGES).join(service);
    // What an older build left would be packed too.
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let root = folder.join("root");
    std::fs::create_dir_all(&root)?;
    std::fs::create_dir_all(folder.join("data"))?;
    let program: PathBuf =
        [Path::new("target"), target.as_ref(), "release".as_ref(), service.as_ref()].iter().collect();
    std::fs::copy(shell.root().join(program), root.join("service"))?;
    if service == "frontend" {
        copy_folder(&site::folder(shell), &root.join("site"))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_builds_for_its_own_kind_alone() {
        assert_eq!(target("linux", "x86_64", None).unwrap(), "x86_64-unknown-linux-musl");
        assert_eq!(target("linux", "aarch64", Some("")).unwrap(), "aarch64-unknown-linux-musl");
        assert_eq!(target("linux", "x86_64", Some("linux/amd64")).unwrap(), "x86_64-unknown-linux-musl");
        for (os, wanted) in [("linux", "linux/arm64"), ("linux", "linux/amd64,linux/arm64"), ("macos", "")] {
            let error = target(os, "x86_64", Some(wanted)).unwrap_err().to_string();
            assert!(error.contains("infra/docker/Dockerfile"), "{error}");
        }
    }

    #[test]
    fn an_unknown_service_is_refused_before_anything_is_built() {
        let error = build(&Shell::new().unwrap(), "bus").unwrap_err().to_string();
        assert!(error.contains("event-bus, posts, comments"), "{error}");
    }

    #[test]
    fn folders_are_copied_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("deep")).unwrap();
        std::fs::write(from.join("deep/file"), "x").unwrap();
        copy_folder(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("deep/file")).unwrap(), "x");
    }
}
