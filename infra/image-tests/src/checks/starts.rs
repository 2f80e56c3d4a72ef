//! How long the containers take to start.

use serde_json::Value;
use shared::{ServiceName, Timestamp};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use system_tests::containers::deployment::Deployment;

/// Starts one after the other and waits until each is ready; returns how long each took, and how much of that the service
/// itself took, in milliseconds.
pub async fn are_measured(deployment: &Deployment) -> BTreeMap<ServiceName, (Duration, i64)> {
    let mut all = BTreeMap::new();
    for service in deployment.services() {
        let begun = Instant::now();
        deployment.launch(service).await;
        deployment.until_ready(service).await;
        let took = begun.elapsed();
        all.insert(service, (took, own(deployment, service).await));
    }
    all
}

/// From the start of the process according to the engine (which is a few milliseconds late) to the log line of the
/// service that it listens and is ready.
async fn own(deployment: &Deployment, service: ServiceName) -> i64 {
    let name = deployment.name(service);
    let moment = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let started = moment(&deployment.state(&name).await["StartedAt"]).expect("when it was started");
    let log = deployment.logs(&name);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let steps = lines.filter(|line| line["message"] == "listening" || line["message"] == "ready");
    let last = steps.filter_map(|line| moment(&line["timestamp"])).max();
    last.expect("it says when it listens").ms_since(started)
}
