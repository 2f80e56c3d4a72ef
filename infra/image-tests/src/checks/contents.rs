//! The files of an image.

use crate::images::{self, Entry};
use crate::report::most_bytes;
use serde_json::{Value, json};
use shared::ServiceName;
use std::path::Path;
use system_tests::containers::deployment::Deployment;

/// Files that the engine itself adds to every container.
const ENGINES: [&str; 5] = [".dockerenv", "dev", "etc", "proc", "sys"];
/// The user of all services, as an archive shows it.
const NOBODY: &str = "65532/65532";
/// The section of a program that lists its dependencies.
const BILL_OF_MATERIALS: &[u8] = b".dep-v0";

/// One program, its site if it has one, and its own data folder: no shell, no library, no second program. Returns the
/// size of all files.
pub async fn are_the_program_and_nothing_else(
    deployment: &Deployment,
    root: &Path,
    service: ServiceName,
) -> u64 {
    let image = &deployment.manifests[&service].image;
    let entries = images::entries(&deployment.engine, image).await;
    let top = |entry: &Entry| entry.path.split('/').next().unwrap_or_default().to_owned();
    let own: Vec<_> = entries.into_iter().filter(|entry| !ENGINES.contains(&top(entry).as_str())).collect();
    for entry in &own {
        let known = match top(entry).as_str() {
            "service" => entry.is_program(),
            "data" => entry.path == "data" && entry.owner == NOBODY,
            "site" => service == ServiceName::Frontend && !entry.is_program(),
            _ => false,
        };
        assert!(known, "the image of {service} has {entry:?}, which nobody knows");
        assert!(!entry.mode.contains('s'), "{entry:?} runs as somebody else");
    }
    assert!(own.iter().any(|entry| entry.path == "service"), "the image of {service} has no program");
    if service == ServiceName::Frontend {
        assert!(own.iter().any(|entry| entry.path.ends_with(".wasm.br")), "the site is there: {own:?}");
    }

    let bytes = own.iter().map(|entry| entry.size).sum();
    assert!(bytes <= most_bytes(service), "the image of {service} has {bytes} bytes");

    let inspected = deployment.engine.run(&["image", "inspect", image]).await;
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    let config = &inspected[0]["Config"];
    assert_eq!(config["User"], "65532:65532", "{service}");
    assert_eq!(config["Entrypoint"], json!(["/service"]), "no shell stands before {service}");

    let program = images::folder(root, service).join("root/service");
    let program = std::fs::read(&program).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let listed = program.windows(BILL_OF_MATERIALS.len()).any(|bytes| bytes == BILL_OF_MATERIALS);
    assert!(listed, "{service} does not say what it was built from");
    bytes
}
