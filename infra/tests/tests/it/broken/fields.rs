//! What may be said at all.

use super::{CLIENT, DEPLOYMENT, Fault, POSTS, container, plain, pod};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let rewrite = json!([{"type": "URLRewrite", "urlRewrite": {"path": {"replacePrefixMatch": "/events"}}}]);
    let linux = json!({"kubernetes.io/os": "plan9"});
    let host = |field: &str| (DEPLOYMENT, POSTS, pod(field), json!(true));
    let of_posts = |place: String, value: Value| (DEPLOYMENT, POSTS, place, value);
    let selector = json!([{"key": "tier", "operator": "Exists"}]);
    let faults = vec![
        host("/hostIPC"),
        host("/hostNetwork"),
        host("/hostPID"),
        host("/shareProcessNamespace"),
        of_posts(pod("/affinity"), json!({"nodeAffinity": {}})),
        of_posts(pod("/dnsPolicy"), json!("Default")),
        of_posts(pod("/nodeName"), json!("nowhere")),
        of_posts(pod("/nodeSelector"), linux),
        of_posts(pod("/securityContext/supplementalGroups"), json!([0])),
        of_posts(pod("/volumes/0/hostPath"), json!({"path": "/"})),
        of_posts(pod("/volumes/0/persistentVolumeClaim/readOnly"), json!(true)),
        of_posts(container("/volumeMounts/0/readOnly"), json!(true)),
        of_posts(container("/command"), json!(["/bin/sh"])),
        of_posts(container("/envFrom"), json!([{"secretRef": {"name": "mini-blog-secrets"}}])),
        of_posts(container("/ports/0/protocol"), json!("UDP")),
        of_posts(container("/livenessProbe/terminationGracePeriodSeconds"), json!(1)),
        of_posts(container("/readinessProbe/httpGet/host"), json!("example.com")),
        of_posts(plain("/spec/paused"), json!(true)),
        (DEPLOYMENT, CLIENT, pod("/topologySpreadConstraints/0/minDomains"), json!(9)),
        (
            "HorizontalPodAutoscaler",
            "client",
            plain("/spec/behavior"),
            json!({"scaleUp": {"selectPolicy": "Disabled"}}),
        ),
        ("HTTPRoute", "mini-blog", plain("/spec/parentRefs/0/sectionName"), json!("https")),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/filters"), rewrite.clone()),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/backendRefs/0/filters"), rewrite),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/backendRefs/0/weight"), json!(0)),
        ("NetworkPolicy", "posts", plain("/spec/podSelector/matchExpressions"), selector.clone()),
        (
            "NetworkPolicy",
            "posts",
            plain("/spec/ingress/0/from/0/namespaceSelector/matchExpressions"),
            selector,
        ),
        ("PersistentVolumeClaim", "posts-data", plain("/spec/storageClassName"), json!("fast")),
        ("PodDisruptionBudget", "client", plain("/spec/minAvailable"), json!(2)),
        ("Service", "posts-clusterip-srv", plain("/spec/internalTrafficPolicy"), json!("Local")),
        ("Service", "posts-srv", plain("/spec/ports/0/nodePort"), json!(30000)),
    ];
    let known = "nothing is said that no policy knows";
    faults.into_iter().map(|(kind, name, place, value)| (kind, name, place, value, known)).collect()
}
