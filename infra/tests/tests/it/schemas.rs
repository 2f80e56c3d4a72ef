//! Manifests and `skaffold.yaml` against the schemas of the programs that read them.

use manifest_tests::object::{Cluster, Object};
use manifest_tests::render;
use manifest_tests::repository::{lesson, skaffold};
use manifest_tests::tools::{python, root, schemas};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The oldest supported version, one in the middle, the newest.
const VERSIONS: [&str; 3] = ["1.32", "1.34", "1.37"];

/// What the validator finds; it reads YAML, and so JSON.
fn faults(python: &Path, how: &[&str], documents: impl Iterator<Item = Value>) -> String {
    let mut validator = Command::new(python)
        .arg(root().join("infra/tests/src/schemas.py"))
        .args(how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was found");
    let mut input = validator.stdin.take().expect("a pipe");
    for document in documents {
        write!(input, "---\n{document}\n").expect("it reads");
    }
    drop(input);
    let output = validator.wait_with_output().expect("its end");
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())), "{found}");
    found
}

/// Every object of every rendering, once.
fn objects(clusters: &[Cluster], gateway: bool) -> impl Iterator<Item = Value> {
    let is_gateway = |o: &&Object| ["Gateway", "HTTPRoute"].contains(&o.kind());
    let chosen = clusters.iter().flat_map(|c| &c.objects).filter(|o| is_gateway(o) == gateway);
    let texts: BTreeSet<String> = chosen.map(|object| object.0.to_string()).collect();
    texts.into_iter().map(|text| serde_json::from_str(&text).expect("it was written just now"))
}

#[test]
fn every_object_is_valid_for_three_versions_of_kubernetes() {
    let (Some(clusters), Some(python)) = (render::all(), python("python")) else { return };
    let how = [&["kubernetes"][..], &VERSIONS].concat();
    assert_eq!(faults(&python, &how, objects(clusters, false)), "");
    assert_eq!(faults(&python, &how, [lesson().objects.remove(0).0].into_iter()), "");

    // A field that no version knows; and a version without schemas.
    let broken = clusters[0].with("Deployment", "posts-depl", "/spec/replica", json!(1));
    let found = faults(&python, &how, broken.of_kind("Deployment").map(|o| o.0.clone()));
    assert_eq!(found.matches("'replica' was unexpected").count(), VERSIONS.len(), "{found}");
    let found = faults(&python, &["kubernetes", "1.99"], [clusters[0].objects[0].0.clone()].into_iter());
    assert!(found.contains("no schemas of Kubernetes 1.99"), "{found}");
}

#[test]
fn the_objects_of_gateway_api_are_valid_for_their_crds() {
    let (Some(clusters), Some(python)) = (render::all(), python("python")) else { return };
    let schemas = schemas();
    let how = ["crds", schemas.to_str().expect("a plain path")];
    assert!(objects(clusters, true).count() >= 2);
    assert_eq!(faults(&python, &how, objects(clusters, true)), "");

    let all = render::one(render::ALL).expect("it is rendered");
    for (kind, pointer, value, complaint) in [
        ("HTTPRoute", "/spec/rules/0/backendRefs/0/ports", json!(1), "'ports' was unexpected"),
        ("HTTPRoute", "/spec/rules/0/timeouts/request", json!("soon"), "does not match"),
        ("HTTPRoute", "/metadata/name", json!("x"), ""),
        ("Gateway", "/spec/gatewayClassName", Value::Null, "'gatewayClassName' is a required property"),
    ] {
        let broken = all.with(kind, "mini-blog", pointer, value);
        let found = faults(&python, &how, broken.of_kind(kind).map(|o| o.0.clone()));
        assert!(found.contains(complaint) && found.is_empty() == complaint.is_empty(), "{pointer}: {found}");
    }
}

#[test]
fn skaffold_takes_its_file() {
    let Some(python) = python("python") else { return };
    let schema = schemas().join("skaffold-v4beta13.json");
    let how = ["json", schema.to_str().expect("a plain path")];
    let mut file = skaffold();
    assert_eq!(file["apiVersion"], "skaffold/v4beta13");
    assert_eq!(faults(&python, &how, [file.clone()].into_iter()), "");
    let artifacts = file["build"].as_object_mut().and_then(|build| build.remove("artifacts"));
    file["build"]["artifcts"] = artifacts.expect("artifacts");
    assert_ne!(faults(&python, &how, [file].into_iter()), "", "it takes what is misspelt");
}
