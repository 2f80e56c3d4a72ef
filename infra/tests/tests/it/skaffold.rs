//! `skaffold.yaml` as it is, and with one thing changed.

use manifest_tests::object::{at, set};
use manifest_tests::policy::rollouts::deadline;
use manifest_tests::render;
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
fn it_waits_as_long_as_a_deployment_may_take() {
    let Some(dev) = render::one("dev") else { return };
    let longest = dev.of_kind("Deployment").map(|object| deadline(&object.0)).max().expect("Deployments");
    let waits = at(&skaffold(), "/deploy/statusCheckDeadlineSeconds").as_u64().expect("a number");
    assert!(waits >= longest, "gives up after {waits} s, but a deployment may take {longest} s");
}

#[test]
fn what_it_looks_at_is_there() {
    for path in ServiceName::ALL.iter().flat_map(|service| compiled_from(service.as_str())) {
        assert!(root().join(path.trim_end_matches("/**")).exists(), "{path} does not exist");
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
        assert_ne!(complaints(&broken), [""; 0], "{value} at {pointer} is not noticed");
    }
}
