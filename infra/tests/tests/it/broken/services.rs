//! Names, ports and namespace.

use super::{DEPLOYMENT, Fault, POSTS, container, plain};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let (selectors, ports) = ("selectors match", "every port of a Service leads to a port of a container");
    let (course, opened) = ("names are the course's", "only the NodePort component opens a port");
    let reached = "every Service leads to all its pods";
    vec![
        (DEPLOYMENT, POSTS, container("/ports/0/protocol"), json!("UDP"), ports),
        ("Service", "posts-srv", plain("/spec/ports/0/nodePort"), json!(30000), opened),
        ("Service", "posts-clusterip-srv", plain("/spec/internalTrafficPolicy"), json!("Local"), reached),
        ("Service", "posts-srv", plain("/spec/externalTrafficPolicy"), json!("Local"), reached),
        ("Service", "client-srv", plain("/spec/sessionAffinity"), json!("ClientIP"), reached),
        (
            DEPLOYMENT,
            POSTS,
            plain("/spec/selector/matchLabels/app.kubernetes.io~1name"),
            json!("post"),
            selectors,
        ),
        ("Service", "posts-clusterip-srv", plain("/spec/selector/tier"), json!("back"), selectors),
        ("Service", "posts-clusterip-srv", plain("/spec/selector"), Value::Null, selectors),
        ("PodDisruptionBudget", "client", plain("/spec/selector/matchLabels/x"), json!("y"), selectors),
        ("Service", "query-srv", plain("/spec/ports/0/targetPort"), json!("web"), ports),
        ("Service", "query-srv", plain("/spec/ports/0/targetPort"), json!(4002), ports),
        ("Service", "query-srv", plain("/spec/ports/0/port"), json!(80), ports),
        ("Service", "client-srv", plain("/spec/ports/0/targetPort"), json!("admin"), ports),
        ("Service", "comments-srv", plain("/metadata/name"), json!("comments"), course),
        (DEPLOYMENT, POSTS, plain("/metadata/name"), json!("posts"), course),
        ("Service", "comments-srv", plain("/spec/ports/0/port"), json!(4000), course),
        ("Service", "query-srv", plain("/spec/type"), json!("LoadBalancer"), opened),
        ("Service", "query-srv", plain("/spec/externalIPs"), json!(["192.0.2.1"]), opened),
        ("Service", "posts-srv", plain("/spec/type"), json!("LoadBalancer"), opened),
        (DEPLOYMENT, POSTS, container("/ports/0/hostPort"), json!(4000), opened),
        ("Service", "query-srv", plain("/metadata/namespace"), Value::Null, "everything is in one namespace"),
        (
            "Namespace",
            "mini-blog",
            plain("/metadata/labels/pod-security.kubernetes.io~1enforce"),
            json!("baseline"),
            "everything is in one namespace",
        ),
    ]
}
