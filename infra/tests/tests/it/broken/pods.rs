//! What every pod has.

use super::{CLIENT, DEPLOYMENT, Fault, POSTS, container, plain, pod};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let privileges = "pods run with least privilege";
    let (probed, limits, stop) = ("pods are probed", "pods have limits", "pods have time to stop");
    let there = "images may be on the node already";
    let (anywhere, resolve) = ("pods run on any node", "pods resolve Services");
    let variables = "programs are told everything by single variables";
    let required = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}});
    vec![
        (DEPLOYMENT, POSTS, pod("/hostIPC"), json!(true), privileges),
        (DEPLOYMENT, POSTS, pod("/hostNetwork"), json!(true), privileges),
        (DEPLOYMENT, POSTS, pod("/hostPID"), json!(true), privileges),
        (DEPLOYMENT, POSTS, pod("/shareProcessNamespace"), json!(true), privileges),
        (DEPLOYMENT, POSTS, pod("/securityContext/supplementalGroups"), json!([0]), privileges),
        (DEPLOYMENT, POSTS, pod("/volumes/0/hostPath"), json!({"path": "/"}), privileges),
        (DEPLOYMENT, POSTS, pod("/affinity"), required, anywhere),
        (DEPLOYMENT, POSTS, pod("/nodeName"), json!("nowhere"), anywhere),
        (DEPLOYMENT, POSTS, pod("/nodeSelector"), json!({"kubernetes.io/os": "plan9"}), anywhere),
        (DEPLOYMENT, POSTS, pod("/dnsPolicy"), json!("Default"), resolve),
        (DEPLOYMENT, POSTS, container("/command"), json!(["/bin/sh"]), variables),
        (DEPLOYMENT, POSTS, container("/args"), json!(["--insecure"]), variables),
        (
            DEPLOYMENT,
            POSTS,
            container("/envFrom"),
            json!([{"secretRef": {"name": "mini-blog-secrets"}}]),
            variables,
        ),
        (DEPLOYMENT, POSTS, container("/livenessProbe/terminationGracePeriodSeconds"), json!(1), stop),
        (DEPLOYMENT, POSTS, container("/readinessProbe/httpGet/host"), json!("example.com"), probed),
        (DEPLOYMENT, POSTS, pod("/securityContext/runAsNonRoot"), Value::Null, privileges),
        (DEPLOYMENT, POSTS, pod("/securityContext/seccompProfile"), Value::Null, privileges),
        (DEPLOYMENT, POSTS, pod("/securityContext/runAsUser"), json!(0), privileges),
        (DEPLOYMENT, POSTS, pod("/automountServiceAccountToken"), Value::Null, privileges),
        (DEPLOYMENT, POSTS, pod("/enableServiceLinks"), Value::Null, privileges),
        (DEPLOYMENT, CLIENT, container("/securityContext/readOnlyRootFilesystem"), json!(false), privileges),
        (DEPLOYMENT, CLIENT, container("/securityContext/allowPrivilegeEscalation"), Value::Null, privileges),
        (DEPLOYMENT, CLIENT, container("/securityContext/capabilities/drop"), json!(["NET_RAW"]), privileges),
        (
            DEPLOYMENT,
            CLIENT,
            container("/securityContext/capabilities/add"),
            json!(["NET_ADMIN"]),
            privileges,
        ),
        (DEPLOYMENT, CLIENT, container("/securityContext/privileged"), json!(true), privileges),
        (DEPLOYMENT, CLIENT, pod("/initContainers"), json!([{"name": "late"}]), privileges),
        (DEPLOYMENT, POSTS, container("/startupProbe"), Value::Null, probed),
        (DEPLOYMENT, POSTS, container("/livenessProbe/httpGet/path"), json!("/readyz"), probed),
        (DEPLOYMENT, CLIENT, container("/readinessProbe/httpGet/port"), json!("metrics"), probed),
        (DEPLOYMENT, POSTS, container("/resources/limits/memory"), Value::Null, limits),
        (DEPLOYMENT, POSTS, container("/resources/requests"), Value::Null, limits),
        (DEPLOYMENT, POSTS, pod("/terminationGracePeriodSeconds"), json!(16), stop),
        (DEPLOYMENT, POSTS, container("/lifecycle"), Value::Null, stop),
        (
            DEPLOYMENT,
            CLIENT,
            plain("/spec/template/metadata/annotations/prometheus.io~1port"),
            json!("3000"),
            "metrics are scraped where they are",
        ),
        (DEPLOYMENT, POSTS, container("/securityContext/runAsUser"), json!(0), privileges),
        (DEPLOYMENT, POSTS, container("/securityContext/runAsNonRoot"), json!(false), privileges),
        (
            DEPLOYMENT,
            POSTS,
            container("/securityContext/seccompProfile"),
            json!({"type": "Unconfined"}),
            privileges,
        ),
        (DEPLOYMENT, POSTS, container("/imagePullPolicy"), json!("Always"), there),
        (DEPLOYMENT, POSTS, container("/imagePullPolicy"), Value::Null, there),
        (DEPLOYMENT, POSTS, container("/startupProbe/failureThreshold"), json!(1), probed),
        (DEPLOYMENT, POSTS, container("/startupProbe/failureThreshold"), json!(60), probed),
        (DEPLOYMENT, CLIENT, container("/startupProbe/failureThreshold"), json!(1), probed),
        (
            DEPLOYMENT,
            POSTS,
            container("/livenessProbe"),
            json!({"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}),
            probed,
        ),
        (DEPLOYMENT, POSTS, container("/livenessProbe/failureThreshold"), json!(1), probed),
        (DEPLOYMENT, POSTS, container("/livenessProbe/periodSeconds"), json!(1), probed),
        (DEPLOYMENT, POSTS, container("/resources/requests/memory"), json!("1Gi"), limits),
        (DEPLOYMENT, POSTS, container("/resources/requests/cpu"), json!("2"), limits),
        (DEPLOYMENT, POSTS, container("/resources/limits/memory"), json!("128Ki"), limits),
        (DEPLOYMENT, POSTS, container("/resources/limits/memory"), json!("128m"), limits),
        (DEPLOYMENT, POSTS, container("/resources/limits/cpu"), json!("30m"), limits),
        (DEPLOYMENT, POSTS, container("/resources/limits/cpu"), json!("much"), limits),
    ]
}
