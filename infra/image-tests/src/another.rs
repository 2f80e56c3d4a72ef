//! Containers beside the six: of the same images, with something wrong.

use serde_json::Value;
use shared::ServiceName;
use std::time::Duration;
use system_tests::containers::deployment::Deployment;
use system_tests::eventually;
use system_tests::http::{Server, client};

/// How long such a container may take to end by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a container of a service with some variables set or removed and some flags added. Returns its name.
pub async fn launch(
    deployment: &Deployment,
    service: ServiceName,
    variables: &[(&str, Option<&str>)],
    more: &[&str],
) -> String {
    let mut container = deployment.manifests[&service].clone();
    for (name, value) in variables {
        match value {
            Some(value) => drop(container.environment.insert((*name).to_owned(), (*value).to_owned())),
            None => assert!(container.environment.remove(*name).is_some(), "{service} has no {name}"),
        }
    }
    let flags = deployment.flags(&container);
    let flags = flags.iter().map(String::as_str).chain(more.iter().copied());
    let args = ["run", "--detach"].into_iter().chain(flags).chain([container.image.as_str()]);
    deployment.engine.run(&args.collect::<Vec<_>>()).await
}

/// Waits until the container has ended; returns its exit code.
pub async fn until_ended(deployment: &Deployment, container: &str) -> i64 {
    eventually(LIMIT, "the container ends by itself", async || {
        let state = deployment.state(container).await;
        if state["Running"] == true {
            Err(deployment.logs(container))
        } else {
            Ok(state["ExitCode"].as_i64().unwrap_or(-1))
        }
    })
    .await
}

/// This port at the address of the container.
pub async fn place(deployment: &Deployment, container: &str, port: u16) -> Server {
    let inspected: Value = deployment.inspect(container).await;
    let address = &inspected["NetworkSettings"]["Networks"][&deployment.network.name]["IPAddress"];
    let address = address.as_str().filter(|address| !address.is_empty());
    let address = address.unwrap_or_else(|| panic!("{container} does not run: {}", inspected["State"]));
    Server::new(&client(), &format!("http://{address}:{port}"))
}
