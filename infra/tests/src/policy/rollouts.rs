//! How long a deployment may take.

use super::pods::patience;
use crate::object::{Cluster, at};
use serde_json::Value;

/// The default of `progressDeadlineSeconds`.
const DEFAULT_DEADLINE: u64 = 600;
/// Seconds to attach the volume and to pull the image.
const BEFORE_THE_START: u64 = 60;

/// How long a Deployment may be without progress before Kubernetes reports it as failed, in seconds.
pub fn deadline(deployment: &Value) -> u64 {
    at(deployment, "/spec/progressDeadlineSeconds").as_u64().unwrap_or(DEFAULT_DEADLINE)
}

/// The old pod's stop, then volume and image, then the whole allowance of the startup probe.
pub fn wait_for_starts(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads().filter(|workload| workload.0.kind() == "Deployment") {
        let name = workload.0.name();
        let stop = at(workload.pod(), "/terminationGracePeriodSeconds").as_u64().unwrap_or(30);
        let start = workload.containers().map(|c| patience(at(c, "/startupProbe"))).max().unwrap_or(0);
        let (needed, found) = (stop + BEFORE_THE_START + start, deadline(&workload.0.0));
        if found < needed {
            complaints
                .push(format!("{name}: is reported as failed after {found} s, but may take {needed} s"));
        }
        if at(&workload.0.0, "/spec/paused") == true {
            complaints.push(format!("{name}: is paused, so no change is rolled out"));
        }
    }
    complaints
}
