//! The network policies.

use super::{Fault, plain};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let (ends, denied, through) = (
        "network edges are allowed at both ends",
        "the network denies by default",
        "the network allows every call",
    );
    let selector = json!([{"key": "tier", "operator": "Exists"}]);
    vec![
        ("NetworkPolicy", "posts", plain("/spec/podSelector/matchExpressions"), selector.clone(), ends),
        (
            "NetworkPolicy",
            "posts",
            plain("/spec/ingress/0/from/0/namespaceSelector/matchExpressions"),
            selector,
            ends,
        ),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/from/0"), Value::Null, through),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/from/1"), Value::Null, ends),
        (
            "NetworkPolicy",
            "posts",
            plain("/spec/egress/-"),
            json!({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
            ends,
        ),
        ("NetworkPolicy", "posts", plain("/spec/egress/-"), json!({}), ends),
        ("NetworkPolicy", "posts", plain("/spec/egress/0/ports"), Value::Null, ends),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/ports/0/port"), json!(4001), ends),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/ports/0/endPort"), json!(5000), ends),
        ("NetworkPolicy", "posts", plain("/spec/ingress/0/from/-"), json!({"namespaceSelector": {}}), ends),
        ("NetworkPolicy", "dns", plain("/spec/egress/0/to/-"), json!({"podSelector": {}}), denied),
        ("NetworkPolicy", "default-deny", plain("/spec/policyTypes"), json!(["Ingress"]), denied),
        ("NetworkPolicy", "default-deny", plain("/spec/ingress"), json!([{}]), denied),
        ("NetworkPolicy", "posts", plain("/spec/policyTypes"), json!(["Ingress"]), denied),
        ("NetworkPolicy", "posts", plain("/spec/policyTypes"), Value::Null, denied),
        ("NetworkPolicy", "dns", plain("/spec/policyTypes"), json!(["Ingress"]), denied),
        (
            "NetworkPolicy",
            "dns",
            plain("/spec/podSelector/matchLabels"),
            json!({"app.kubernetes.io/name": "posts"}),
            denied,
        ),
        ("NetworkPolicy", "dns", plain("/spec/egress/0/ports/0/protocol"), json!("TCP"), denied),
        ("NetworkPolicy", "dns", plain("/spec/egress/0/ports/1"), Value::Null, denied),
    ]
}
