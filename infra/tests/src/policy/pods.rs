//! What every pod has, whichever service runs in it.

use crate::object::{Cluster, Workload, at, list, quantity, text};
use serde_json::{Value, json};

/// The user that distroless images call `nonroot`.
const NOBODY: u64 = 65532;
/// Seconds that a service without a store has for its start.
const START: u64 = 30;
/// Seconds that a service with a store has for its start: the bus reads its whole log twice before it listens.
const START_WITH_DATA: u64 = 600;
/// Seconds for which a process may hang without being restarted.
const SHORT_HANG: u64 = 20;
/// With less than this no service runs.
const LEAST: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "64Mi")];

/// Pointers and their values in every pod.
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

/// The whole context: what a container sets overrides its pod.
fn container_context() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// The whole security context, no token for the Kubernetes API, and nothing of the node or of other containers.
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
        demand(workload.pod(), "/securityContext/supplementalGroups", &Value::Null);
        for namespace in ["/hostIPC", "/hostNetwork", "/hostPID", "/shareProcessNamespace"] {
            if at(workload.pod(), namespace) == true {
                complaints.push(format!("{}: {namespace} is true", workload.0.name()));
            }
        }
        for volume in list(at(workload.pod(), "/volumes")).filter(|volume| !at(volume, "/hostPath").is_null())
        {
            complaints.push(format!("{}: mounts a folder of its node: {volume}", workload.0.name()));
        }
    }
    complaints
}

/// No demand on a node's name or labels.
pub fn scheduled_anywhere(cluster: &Cluster) -> Vec<String> {
    const REQUIRED: &str = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        for pointer in ["/nodeName", "/nodeSelector", REQUIRED] {
            let found = at(workload.pod(), pointer);
            if !found.is_null() {
                complaints
                    .push(format!("{}: runs only on some nodes: {pointer} is {found}", workload.0.name()));
            }
        }
    }
    complaints
}

/// The cluster's DNS, which is the default.
pub fn resolve_services(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        let found = at(workload.pod(), "/dnsPolicy");
        if !found.is_null() && found != "ClusterFirst" {
            complaints.push(format!("{}: dnsPolicy is {found}", workload.0.name()));
        }
    }
    complaints
}

/// The image's own program, no flags, and no set of variables at once.
pub fn told_by_variables(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        for field in ["command", "args", "envFrom"] {
            if container.get(field).is_some() {
                complaints.push(format!("{}: has {field}", workload.0.name()));
            }
        }
    }
    complaints
}

/// `IfNotPresent`. The default for images without a tag is to pull each time.
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

/// All three probes, on the right paths and existing ports, with time for a start and for a short hang.
pub fn probed(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        let start = if workload.claims().next().is_some() { START_WITH_DATA } else { START };
        let probes = [
            ("startupProbe", "/livez", start),
            ("livenessProbe", "/livez", SHORT_HANG),
            ("readinessProbe", "/readyz", 0),
        ];
        for (name, path, least) in probes {
            let probe = at(container, &format!("/{name}"));
            if text(at(probe, "/httpGet/path")) != path {
                complaints.push(format!("{}: {name} does not request {path}", workload.0.name()));
            }
            if !at(probe, "/httpGet/host").is_null() {
                complaints.push(format!("{}: {name} asks another host", workload.0.name()));
            }
            if workload.port(at(probe, "/httpGet/port")).is_none() {
                complaints.push(format!("{}: {name} requests a port that does not exist", workload.0.name()));
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

/// Seconds from the first probe that fails to the end of the last one that counts.
pub(super) fn patience(probe: &Value) -> u64 {
    let or_as_kubernetes = |field, default| at(probe, field).as_u64().unwrap_or(default);
    let [failures, period, timeout] =
        [("/failureThreshold", 3), ("/periodSeconds", 10), ("/timeoutSeconds", 1)]
            .map(|(field, default)| or_as_kubernetes(field, default));
    failures.saturating_sub(1) * period + timeout
}

/// Requests and limits for processor and memory: no request above its limit, no limit that is too small to run.
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
                    "{}: requests {request} of {what} with a limit of {limit}; a limit is at least {least}",
                    workload.0.name()
                ));
            }
        }
    }
    complaints
}

/// The grace period holds the pause before SIGTERM, the program's own stop and a second for its tasks.
pub fn given_time_to_stop(cluster: &Cluster) -> Vec<String> {
    let own = kit::http::server::Limits::default().drain.as_secs() + 1;
    let mut complaints = Vec::new();
    for (workload, container) in containers(cluster) {
        let grace = at(workload.pod(), "/terminationGracePeriodSeconds").as_u64().unwrap_or(0);
        let pause = at(container, "/lifecycle/preStop/sleep/seconds").as_u64().unwrap_or(0);
        if pause == 0 {
            complaints.push(format!("{}: stops before requests are sent elsewhere", workload.0.name()));
        }
        // It would replace the grace period when the liveness probe fails.
        let own_grace = at(container, "/livenessProbe/terminationGracePeriodSeconds").as_u64();
        if own_grace.is_some_and(|own_grace| own_grace < grace) {
            complaints.push(format!("{}: its liveness probe shortens its stop", workload.0.name()));
        }
        if grace <= pause + own {
            complaints.push(format!("{}: is killed after {grace} s, during its stop", workload.0.name()));
        }
    }
    complaints
}

/// Metrics are on the port of the probes.
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
