//! What may be said at all.
//!
//! The other policies look at values; a field that none of them knows would go past them all, and most such fields take
//! something away: a pod that no node takes, a Service that leads to one node, a route that is rewritten. Whoever needs
//! one more adds it here, and with it the policy that looks at its value.

use crate::object::{Cluster, list};
use serde_json::Value;

/// A place, where `*` stands for every element of a list, and the fields that may stand there.
type Place = (&'static str, &'static [&'static str]);

const LABELS: &[&str] = &["matchLabels"];
const PROBE: &[&str] = &["failureThreshold", "httpGet", "periodSeconds", "timeoutSeconds"];
const AMOUNTS: &[&str] = &["cpu", "memory"];

/// Of what pods are made from.
const POD: &[Place] = &[
    (
        "",
        &[
            "automountServiceAccountToken",
            "containers",
            "enableServiceLinks",
            "securityContext",
            "terminationGracePeriodSeconds",
            "topologySpreadConstraints",
            "volumes",
        ],
    ),
    (
        "/securityContext",
        &["fsGroup", "fsGroupChangePolicy", "runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile"],
    ),
    (
        "/topologySpreadConstraints/*",
        &["labelSelector", "matchLabelKeys", "maxSkew", "topologyKey", "whenUnsatisfiable"],
    ),
    ("/topologySpreadConstraints/*/labelSelector", LABELS),
    ("/volumes/*", &["emptyDir", "name", "persistentVolumeClaim"]),
    ("/volumes/*/persistentVolumeClaim", &["claimName"]),
    (
        "/containers/*",
        &[
            "env",
            "image",
            "imagePullPolicy",
            "lifecycle",
            "livenessProbe",
            "name",
            "ports",
            "readinessProbe",
            "resources",
            "securityContext",
            "startupProbe",
            "terminationMessagePolicy",
            "volumeMounts",
        ],
    ),
    ("/containers/*/env/*", &["name", "value", "valueFrom"]),
    ("/containers/*/lifecycle", &["preStop"]),
    ("/containers/*/livenessProbe", PROBE),
    ("/containers/*/livenessProbe/httpGet", &["path", "port"]),
    ("/containers/*/ports/*", &["containerPort", "name"]),
    ("/containers/*/readinessProbe", PROBE),
    ("/containers/*/readinessProbe/httpGet", &["path", "port"]),
    ("/containers/*/resources", &["limits", "requests"]),
    ("/containers/*/resources/limits", AMOUNTS),
    ("/containers/*/resources/requests", AMOUNTS),
    ("/containers/*/startupProbe", PROBE),
    ("/containers/*/startupProbe/httpGet", &["path", "port"]),
    ("/containers/*/volumeMounts/*", &["mountPath", "name"]),
];

/// Of objects, by their kind.
const OBJECTS: &[(&str, &[Place])] = &[
    (
        "Deployment",
        &[
            ("/spec", &["replicas", "revisionHistoryLimit", "selector", "strategy", "template"]),
            ("/spec/selector", LABELS),
            ("/spec/strategy", &["rollingUpdate", "type"]),
        ],
    ),
    ("Gateway", &[("/spec", &["gatewayClassName", "listeners"])]),
    ("HorizontalPodAutoscaler", &[("/spec", &["maxReplicas", "metrics", "minReplicas", "scaleTargetRef"])]),
    (
        "HTTPRoute",
        &[
            ("/spec", &["hostnames", "parentRefs", "rules"]),
            ("/spec/parentRefs/*", &["name"]),
            ("/spec/rules/*", &["backendRefs", "matches", "timeouts"]),
            ("/spec/rules/*/timeouts", &["request"]),
            ("/spec/rules/*/backendRefs/*", &["name", "port"]),
        ],
    ),
    (
        "NetworkPolicy",
        &[
            ("/spec", &["egress", "ingress", "podSelector", "policyTypes"]),
            ("/spec/podSelector", LABELS),
            ("/spec/ingress/*/from/*/namespaceSelector", LABELS),
            ("/spec/ingress/*/from/*/podSelector", LABELS),
            ("/spec/egress/*/to/*/namespaceSelector", LABELS),
            ("/spec/egress/*/to/*/podSelector", LABELS),
        ],
    ),
    ("PersistentVolumeClaim", &[("/spec", &["accessModes", "resources"])]),
    (
        "PodDisruptionBudget",
        &[
            ("/spec", &["maxUnavailable", "selector", "unhealthyPodEvictionPolicy"]),
            ("/spec/selector", LABELS),
        ],
    ),
    (
        "Service",
        &[
            ("/spec", &["ports", "publishNotReadyAddresses", "selector", "type"]),
            ("/spec/ports/*", &["name", "port", "targetPort"]),
        ],
    ),
];

/// Nothing stands there that no policy looks at.
pub fn nothing_unknown(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut look = |name: &str, value: &Value, places: &[Place]| {
        for (place, known) in places {
            let fields = all_at(value, place).into_iter().filter_map(Value::as_object).flatten();
            for (field, value) in fields.filter(|(field, _)| !known.contains(&field.as_str())) {
                complaints.push(format!("{name}: {place}/{field} is {value}, which no policy looks at"));
            }
        }
    };
    for object in &cluster.objects {
        for (_, places) in OBJECTS.iter().filter(|(kind, _)| *kind == object.kind()) {
            look(&format!("{} {}", object.kind(), object.name()), &object.0, places);
        }
    }
    for workload in cluster.workloads() {
        look(workload.0.name(), workload.pod(), POD);
    }
    complaints
}

/// Everything at a place.
fn all_at<'a>(value: &'a Value, place: &str) -> Vec<&'a Value> {
    match place.split_once("/*") {
        Some((of, rest)) => {
            value.pointer(of).into_iter().flat_map(list).flat_map(|item| all_at(item, rest)).collect()
        }
        None => value.pointer(place).into_iter().collect(),
    }
}
