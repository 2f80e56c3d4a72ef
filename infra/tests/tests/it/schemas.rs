//! Manifests and `skaffold.yaml` against the schemas of the programs that read them.

use manifest_tests::object::{Cluster, Object, text};
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

/// Whether a CRD describes it, and not Kubernetes itself.
fn has_crd(object: &Object) -> bool {
    let group = text(object.at("/apiVersion"));
    ["gateway.networking.k8s.io/", "postgresql.cnpg.io/", "barmancloud.cnpg.io/"]
        .iter()
        .any(|known| group.starts_with(known))
}

/// Every object of every rendering, once.
fn objects(clusters: &[Cluster], crd: bool) -> impl Iterator<Item = Value> {
    let chosen = clusters.iter().flat_map(|c| &c.objects).filter(move |object| has_crd(object) == crd);
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
fn the_objects_of_gateway_api_and_of_cloudnativepg_are_valid_for_their_crds() {
    let (Some(clusters), Some(python)) = (render::all(), python("python")) else { return };
    let schemas = schemas();
    let how = ["crds", schemas.to_str().expect("a plain path")];
    let kinds: BTreeSet<_> = objects(clusters, true).map(|object| text(&object["kind"]).to_owned()).collect();
    let wanted =
        ["Cluster", "Database", "DatabaseRole", "Gateway", "HTTPRoute", "ObjectStore", "ScheduledBackup"];
    assert_eq!(kinds, wanted.map(str::to_owned).into());
    assert_eq!(faults(&python, &how, objects(clusters, true)), "");

    let [gateway, postgres] = [(render::ALL, "mini-blog"), ("scale+restore", "postgres")];
    for ((rendering, name), kind, pointer, value, complaint) in [
        (gateway, "HTTPRoute", "/spec/rules/0/backendRefs/0/ports", json!(1), "'ports' was unexpected"),
        (gateway, "HTTPRoute", "/spec/rules/0/timeouts/request", json!("soon"), "does not match"),
        (gateway, "HTTPRoute", "/metadata/name", json!("x"), ""),
        (
            gateway,
            "Gateway",
            "/spec/gatewayClassName",
            Value::Null,
            "'gatewayClassName' is a required property",
        ),
        (postgres, "Cluster", "/spec/postgresql/synchronous/method", json!("some"), "is not one of"),
        (postgres, "Cluster", "/spec/postgresql/synchronous/failoverQuorom", json!(true), "was unexpected"),
        (postgres, "Cluster", "/spec/bootstrap/recovery/sources", json!("backup"), "was unexpected"),
        (postgres, "Cluster", "/spec/instances", json!("3"), "is not of type 'integer'"),
        (postgres, "Cluster", "/metadata/labels/x", json!("y"), ""),
        (postgres, "ScheduledBackup", "/spec/schedule", Value::Null, "'schedule' is a required property"),
        (postgres, "ObjectStore", "/spec/configuration/wal/compression", json!("rar"), "is not one of"),
        (("scale", "posts"), "Database", "/spec/lcCollate", json!("C"), "was unexpected"),
        (("scale", "posts"), "DatabaseRole", "/spec/passwordSecret/key", json!("x"), "was unexpected"),
    ] {
        let broken = render::one(rendering).expect("it is rendered").with(kind, name, pointer, value);
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
