//! What has to be true of `skaffold.yaml`.

use crate::names::cluster_service;
use crate::object::{at, list, text};
use serde_json::{Value, json};
use shared::ServiceName;
use std::collections::BTreeSet;

/// Returns a line for each fault.
pub fn complaints(file: &Value) -> Vec<String> {
    [forwards(file), pushes(file), dependencies(file), unpinned(file)].concat()
}

/// The default build, and those of the profiles.
fn builds(file: &Value) -> impl Iterator<Item = &Value> {
    let profiles = list(at(file, "/profiles")).map(|profile| at(profile, "/build"));
    [at(file, "/build")].into_iter().chain(profiles.filter(|build| !build.is_null()))
}

/// The website and the log can be reached without an ingress.
fn forwards(file: &Value) -> Vec<String> {
    let wanted = [ServiceName::Frontend, ServiceName::EventBus].map(|service| {
        let port = service.default_port();
        json!({
            "resourceType": "service",
            "resourceName": cluster_service(service),
            "namespace": "mini-blog",
            "port": port,
            "localPort": port,
        })
    });
    let found: Vec<_> = list(at(file, "/portForward")).collect();
    let missing = wanted.iter().filter(|forward| !found.contains(forward));
    missing.map(|forward| format!("does not forward {forward}")).collect()
}

/// Images stay on the laptop. A profile's build replaces the default one together with its `push: false`.
fn pushes(file: &Value) -> Vec<String> {
    let pushing = builds(file).filter(|build| at(build, "/local/push") != false);
    pushing.map(|build| format!("pushes images: {}", at(build, "/local"))).collect()
}

/// An image is rebuilt for what its program is compiled from, and for nothing else: too little would leave an old
/// program in the cluster, too much would build all images for a change of one.
fn dependencies(file: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    for artifact in builds(file).flat_map(|build| list(at(build, "/artifacts"))) {
        let Some(custom) = artifact.get("custom") else { continue };
        let image = text(at(artifact, "/image"));
        if !at(custom, "/dependencies/ignore").is_null() {
            complaints.push(format!("{image} is not rebuilt for everything that it lists"));
        }
        let paths = at(custom, "/dependencies/paths");
        let found: BTreeSet<_> = list(paths).map(|path| text(path).to_owned()).collect();
        let wanted = compiled_from(image.trim_start_matches("mini-blog/"));
        for path in wanted.difference(&found) {
            complaints.push(format!("{image} is not rebuilt for {path}"));
        }
        for path in found.difference(&wanted) {
            complaints.push(format!("{image} is rebuilt for {path}"));
        }
    }
    complaints
}

/// What `cargo xtask image` reads for this service.
pub fn compiled_from(service: &str) -> BTreeSet<String> {
    let all = [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/**",
        "xtask/**",
        "shared/**",
        "services/kit/**",
        "infra/docker/fast.Dockerfile",
    ];
    let own = if service == ServiceName::Frontend.as_str() {
        ["frontend/**", "style/**", "public/**"].map(str::to_owned).to_vec()
    } else {
        vec![format!("services/{service}/**")]
    };
    all.map(str::to_owned).into_iter().chain(own).collect()
}

/// `skaffold verify` uses the same program tomorrow as today.
fn unpinned(file: &Value) -> Vec<String> {
    let images: Vec<_> = list(at(file, "/verify")).map(|test| text(at(test, "/container/image"))).collect();
    let mut complaints = Vec::new();
    if images.is_empty() {
        complaints.push("verifies nothing".to_owned());
    }
    for image in images {
        // Behind the last slash: a registry's port is no version.
        let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map_or("", |(_, tag)| tag);
        if !tag.starts_with(|c: char| c.is_ascii_digit()) {
            complaints.push(format!("verifies with {image:?}, which has no version"));
        }
    }
    complaints
}
