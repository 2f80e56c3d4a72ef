//! What every pod has, whatever runs in it.

use crate::object::{Cluster, Workload, at, text};
use serde_json::{Value, json};

/// Nobody: the user that distroless images call `nonroot`.
const NOBODY: u64 = 65532;

/// What stands at these places of every pod.
fn pod_context() -> [(&'static str, Value); 8] {
    [
        ("/automountServiceAccountToken", json!(false)),
        ("/enableServiceLinks", json!(false)),
        ("/securityContext/runAsNonRoot", json!(true)),
        ("/securityContext/runAsUser", json!(NOBODY)),
        ("/securityContext/runAsGroup", json!(NOBODY)),
        ("/securityContext/fsGroup", json!(NOBODY)),
        ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ("/hostNetwork", Value::Null),
    ]
}

/// What stands at these places of every container.
fn container_context() -> [(&'static str, Value); 5] {
    [
        ("/securityContext/allowPrivilegeEscalation", json!(false)),
        ("/securityContext/readOnlyRootFilesystem", json!(true)),
        ("/securityContext/capabilities/drop", json!(["ALL"])),
        ("/securityContext/capabilities/add", Value::Null),
        ("/securityContext/privileged", Value::Null),
    ]
}

/// The whole security context, and no token for the Kubernetes API.
pub fn hardened(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        let mut demand = |what: &Value, demands: &[(&str, Value)]| {
            for (pointer, wanted) in demands {
                let found = at(what, pointer);
                if found != wanted {
                    complaints.push(format!("{}: {pointer} is {found}, not {wanted}", workload.0.name()));
                }
            }
        };
        demand(workload.pod(), &pod_context());
        workload.containers().for_each(|container| demand(container, &container_context()));
    }
    complaints
}

/// Started, alive and ready are asked, each on a port that is there.
pub fn probed(cluster: &Cluster) -> Vec<String> {
    let probes = [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")];
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        for (probe, path) in probes {
            let get = at(container, &format!("/{probe}/httpGet"));
            if text(at(get, "/path")) != path {
                complaints.push(format!("{}: {probe} does not ask {path}", workload.0.name()));
            }
            if workload.port(at(get, "/port")).is_none() {
                complaints.push(format!("{}: {probe} asks a port that is not there", workload.0.name()));
            }
        }
    }
    complaints
}

/// Requests and limits, of processor and memory.
pub fn limited(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        for what in ["requests/cpu", "requests/memory", "limits/cpu", "limits/memory"] {
            if text(at(container, &format!("/resources/{what}"))).is_empty() {
                complaints.push(format!("{}: no {what}", workload.0.name()));
            }
        }
    }
    complaints
}

/// The pause before the signal, the program's own stop and a second for its tasks fit into the grace period.
pub fn given_time_to_stop(cluster: &Cluster) -> Vec<String> {
    let own = kit::server::Limits::default().drain.as_secs() + 1;
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        let grace = at(workload.pod(), "/terminationGracePeriodSeconds").as_u64().unwrap_or(0);
        let pause = at(container, "/lifecycle/preStop/sleep/seconds").as_u64().unwrap_or(0);
        if pause == 0 {
            complaints.push(format!("{}: ends before the others have heard of it", workload.0.name()));
        }
        if grace <= pause + own {
            complaints.push(format!("{}: is killed after {grace} s, in its stop", workload.0.name()));
        }
    }
    complaints
}

/// Who is scraped is scraped where its probes are: there the program has its metrics, and nowhere else.
pub fn scraped_where_metrics_are(cluster: &Cluster) -> Vec<String> {
    let monitored = cluster.has("monitoring");
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        let port = workload.annotations().get("prometheus.io/port").map(|port| text(port).to_owned());
        let probed = workload.port(at(container, "/livenessProbe/httpGet/port")).map(|port| port.to_string());
        let wanted = if monitored { probed } else { None };
        if port != wanted {
            complaints.push(format!("{}: is scraped at {port:?}, not {wanted:?}", workload.0.name()));
        }
    }
    complaints
}

fn containers(cluster: &Cluster) -> impl Iterator<Item = (Workload<'_>, &Value)> {
    cluster.workloads().flat_map(|workload| workload.containers().map(move |container| (workload, container)))
}
