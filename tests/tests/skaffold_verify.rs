//! The check that Skaffold runs in a cluster after a deployment, run against a stack.

use serde_json::Value;
use std::process::Stdio;
use system_tests::stack::said;
use system_tests::{LIMIT, Stack, program};
use tokio::process::Command;

/// The script of `skaffold verify`.
fn script() -> String {
    let file = std::fs::read_to_string(program::root().join("skaffold.yaml")).expect("the file");
    let skaffold: Value = serde_saphyr::from_str(&file).expect("YAML");
    let container = &skaffold["verify"][0]["container"];
    assert_eq!(container["command"], serde_json::json!(["sh", "-euc"]), "this test runs it in the same way");
    // Kubernetes expands `$(NAME)` in arguments, so that `$$` stands for one `$`.
    container["args"][0].as_str().expect("a script").replace("$$", "$")
}

#[tokio::test]
async fn what_skaffold_verifies_in_a_cluster_holds_here() {
    let stack = Stack::start().await;
    let site = format!("http://{}", stack.front_door().authority());
    let run = Command::new("sh")
        .args(["-euc", &script()])
        .env("SITE", site)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, run).await.expect("an end").expect("sh and curl");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(stack.log().await.len(), 4, "a post, a comment, its verdict and its new state");
}
