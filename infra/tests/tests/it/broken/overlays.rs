//! What only one overlay has.

use super::{Fault, plain};
use serde_json::{Value, json};

pub fn faults() -> Vec<(&'static str, Fault)> {
    let (taken, served) =
        ("the Gateway accepts the HTTPRoute", "production has its certificate and ingress class");
    let in_production =
        |name, pointer, value| ("production", ("Ingress", name, plain(pointer), value, served));
    vec![
        ("dev-gateway", ("Gateway", "mini-blog", plain("/spec/listeners/0/port"), json!(80), taken)),
        in_production("ingress-srv", "/spec/tls", Value::Null),
        in_production("ingress-exact-srv", "/spec/tls", Value::Null),
        in_production("ingress-srv", "/spec/tls/0/secretName", json!("tls")),
        in_production("ingress-srv", "/spec/tls/0/hosts", json!(["posts.com"])),
        in_production("ingress-srv", "/spec/ingressClassName", json!("nginx")),
        in_production("ingress-srv", "/spec/ingressClassName", Value::Null),
    ]
}
