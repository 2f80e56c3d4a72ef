//! What every pod has, whatever runs in it.

use crate::object::{Cluster, Workload, at, quantity, text};
use serde_json::{Value, json};

/// Nobody: the user that distroless images call `nonroot`.
const NOBODY: u64 = 65532;
/// Seconds that whoever keeps nothing has for its start.
const START: u64 = 30;
/// Seconds that whoever keeps data has for its start: the bus reads its whole log twice before it listens.
const START_WITH_DATA: u64 = 600;
/// Seconds for which a process may not answer and is not restarted for it.
const HICCUP: u64 = 20;
/// Below these limits nothing here runs.
const LEAST: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "64Mi")];

/// What stands at these places of every pod.
fn pod_context() -> [(&'static str, Value); 7] {
    [
        ("/automountServiceAccountToken", json!(false)),
        ("/enableServiceLinks", json!(false)),
        ("/securityContext/runAsNonRoot", json!(true)),
        ("/securityContext/runAsUser", json!(NOBODY)),
        ("/securityContext/runAsGroup", json!(NOBODY)),
        ("/securityContext/fsGroup", json!(NOBODY)),
        ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
    ]
}

/// The whole of it: what a container says goes before what its pod says.
fn container_context() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// The whole security context, and no token for the Kubernetes API.
pub fn hardened(cluster: &Cluster) -> Vec<String> {
    let wanted_of_container = container_context();
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        let mut demand = |what: &Value, pointer: &str, wanted: &Value| {
            let found = at(what, pointer);
            if found != wanted {
                complaints.push(format!("{}: {pointer} is {found}, not {wanted}", workload.0.name()));
            }
        };
        for (pointer, wanted) in pod_context() {
            demand(workload.pod(), pointer, &wanted);
        }
        for container in workload.containers() {
            demand(container, "/securityContext", &wanted_of_container);
        }
    }
    complaints
}

/// An image that the node has is not asked for: on a laptop no registry has it. Without a word Kubernetes would ask
/// each time, as the images there have no tag.
pub fn images_may_be_there_already(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        let found = at(container, "/imagePullPolicy");
        if found != "IfNotPresent" {
            complaints.push(format!("{}: imagePullPolicy is {found}, not IfNotPresent", workload.0.name()));
        }
    }
    complaints
}

/// Started, alive and ready are asked, each on a port that is there; and a start and a hiccup have their time.
pub fn probed(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        let start = if workload.claims().next().is_some() { START_WITH_DATA } else { START };
        let probes = [
            ("startupProbe", "/livez", start),
            ("livenessProbe", "/livez", HICCUP),
            ("readinessProbe", "/readyz", 0),
        ];
        for (name, path, least) in probes {
            let probe = at(container, &format!("/{name}"));
            if text(at(probe, "/httpGet/path")) != path {
                complaints.push(format!("{}: {name} does not ask {path}", workload.0.name()));
            }
            if workload.port(at(probe, "/httpGet/port")).is_none() {
                complaints.push(format!("{}: {name} asks a port that is not there", workload.0.name()));
            }
            let patience = patience(probe);
            if patience < least {
                complaints
                    .push(format!("{}: {name} gives up after {patience} s, not {least}", workload.0.name()));
            }
        }
    }
    complaints
}

/// Seconds from the first question that is not answered to the end of the last one that counts.
fn patience(probe: &Value) -> u64 {
    let or_as_kubernetes = |field, default| at(probe, field).as_u64().unwrap_or(default);
    let [failures, period, timeout] =
        [("/failureThreshold", 3), ("/periodSeconds", 10), ("/timeoutSeconds", 1)]
            .map(|(field, default)| or_as_kubernetes(field, default));
    failures.saturating_sub(1) * period + timeout
}

/// Requests and limits, of processor and memory: no request above its limit, and no limit with which nothing would run.
pub fn limited(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        for (what, least) in LEAST {
            let given =
                ["requests", "limits"].map(|kind| at(container, &format!("/resources/{kind}/{what}")));
            let [request, limit] = given;
            let fits = match (quantity(request), quantity(limit)) {
                (Some(request), Some(limit)) => {
                    request <= limit && Some(limit) >= quantity(&Value::from(least))
                }
                _ => false,
            };
            if !fits {
                complaints.push(format!(
                    "{}: is promised {request} of {what} and limited to {limit}; a limit is at least {least}",
                    workload.0.name()
                ));
            }
        }
    }
    complaints
}

/// The pause before the signal, the program's own stop and a second for its tasks fit into the grace period.
pub fn given_time_to_stop(cluster: &Cluster) -> Vec<String> {
    let own = kit::http::server::Limits::default().drain.as_secs() + 1;
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
