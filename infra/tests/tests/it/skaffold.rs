//! `skaffold.yaml` as it is, and with one thing changed.

use manifest_tests::object::set;
use manifest_tests::repository::skaffold;
use manifest_tests::skaffold::{compiled_from, complaints};
use manifest_tests::tools::root;
use serde_json::{Value, json};
use shared::ServiceName;

#[test]
fn it_is_without_fault() {
    assert_eq!(complaints(&skaffold()), [""; 0]);
}

#[test]
fn what_it_looks_at_is_there() {
    for path in ServiceName::ALL.iter().flat_map(|service| compiled_from(service.as_str())) {
        assert!(root().join(path.trim_end_matches("/**")).exists(), "there is no {path}");
    }
}

#[test]
fn every_fault_is_noticed() {
    let paths = |artifact: usize| format!("/profiles/0/build/artifacts/{artifact}/custom/dependencies/paths");
    let faults = [
        ("/portForward/0".to_owned(), Value::Null),
        ("/portForward/1".to_owned(), Value::Null),
        ("/portForward/1/port".to_owned(), json!(4000)),
        ("/portForward/0/localPort".to_owned(), json!(80)),
        ("/build/local/push".to_owned(), json!(true)),
        ("/build/local/push".to_owned(), Value::Null),
        ("/profiles/0/build/local/push".to_owned(), json!(true)),
        (paths(0), json!([])),
        (paths(0) + "/0", Value::Null),
        (paths(0) + "/-", json!("services/**")),
        (paths(4) + "/-", json!("services/posts/**")),
        (paths(5) + "/7", Value::Null),
        ("/profiles/0/build/artifacts/0/custom/dependencies".to_owned(), Value::Null),
        ("/profiles/0/build/artifacts/0/custom/dependencies/ignore".to_owned(), json!(["**"])),
        ("/verify".to_owned(), json!([])),
        ("/verify/0/container/image".to_owned(), json!("docker.io/curlimages/curl")),
        ("/verify/0/container/image".to_owned(), json!("docker.io/curlimages/curl:latest")),
        ("/verify/0/container/image".to_owned(), json!("localhost:5000/curl")),
    ];
    for (pointer, value) in faults {
        let mut broken = skaffold();
        set(&mut broken, &pointer, value.clone());
        assert_ne!(complaints(&broken), [""; 0], "nobody notices {value} at {pointer}");
    }
}
