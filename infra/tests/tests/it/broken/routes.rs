//! The public routes.

use super::{Fault, plain};
use serde_json::{Value, json};

pub fn faults() -> Vec<Fault> {
    let (ingress, route) = ("the Ingress has the public routes", "the HTTPRoute has the public routes");
    let first = "exact paths come first with Traefik";
    let taken = "the Gateway accepts the HTTPRoute";
    let rewrite = json!([{"type": "URLRewrite", "urlRewrite": {"path": {"replacePrefixMatch": "/events"}}}]);
    vec![
        ("HTTPRoute", "mini-blog", plain("/spec/parentRefs/0/sectionName"), json!("https"), taken),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/filters"), rewrite.clone(), route),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/backendRefs/0/filters"), rewrite, route),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/backendRefs/0/weight"), json!(0), route),
        ("Ingress", "ingress-srv", plain("/spec/rules/0/http/paths/2/path"), json!("/posts/"), ingress),
        ("Ingress", "ingress-srv", plain("/spec/rules/0/http/paths/1"), Value::Null, ingress),
        (
            "Ingress",
            "ingress-srv",
            plain("/spec/rules/0/http/paths/1/pathType"),
            json!("ImplementationSpecific"),
            ingress,
        ),
        (
            "Ingress",
            "ingress-srv",
            plain("/spec/rules/0/http/paths/6/backend/service/port/name"),
            json!("web"),
            ingress,
        ),
        ("Ingress", "ingress-srv", plain("/metadata/annotations"), json!({"rewrite": "/"}), first),
        ("Ingress", "ingress-exact-srv", plain("/metadata/annotations/rewrite"), json!("/"), first),
        ("Ingress", "ingress-exact-srv", plain("/spec/rules/0/http/paths/2"), Value::Null, first),
        ("Ingress", "ingress-exact-srv", plain("/spec/ingressClassName"), json!("nginx"), first),
        (
            "Ingress",
            "ingress-exact-srv",
            plain("/metadata/annotations/traefik.ingress.kubernetes.io~1router.priority"),
            json!("15"),
            first,
        ),
        (
            "Ingress",
            "ingress-exact-srv",
            plain("/metadata/annotations"),
            Value::Null,
            "Traefik routes like the front door",
        ),
        ("Ingress", "ingress-srv", plain("/spec/defaultBackend"), json!({}), ingress),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/4/timeouts/request"), json!("10s"), route),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/3/timeouts/request"), json!("5s"), route),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/backendRefs/0/port"), json!(4001), route),
        (
            "HTTPRoute",
            "mini-blog",
            plain("/spec/rules/0/matches/0/path/type"),
            json!("RegularExpression"),
            route,
        ),
        ("HTTPRoute", "mini-blog", plain("/spec/rules/0/matches/0/method"), json!("GET"), route),
        (
            "HTTPRoute",
            "mini-blog",
            plain("/spec/rules/2"),
            Value::Null,
            "Ingress and Gateway route like the front door",
        ),
        (
            "Ingress",
            "ingress-srv",
            plain("/spec/rules/0/http/paths/2/path"),
            json!("/posts/"),
            "Ingress and Gateway route like the front door",
        ),
        ("Ingress", "ingress-srv", plain("/spec/rules/0/host"), json!("post.com"), "there is one host"),
        ("HTTPRoute", "mini-blog", plain("/spec/hostnames"), Value::Null, "there is one host"),
        ("Gateway", "mini-blog", plain("/spec/listeners/0/hostname"), Value::Null, "there is one host"),
        ("HTTPRoute", "mini-blog", plain("/spec/parentRefs/0/name"), json!("nobody"), taken),
        ("HTTPRoute", "mini-blog", plain("/spec/parentRefs"), Value::Null, taken),
        ("Gateway", "mini-blog", plain("/spec/gatewayClassName"), json!("treafik"), taken),
        ("Gateway", "mini-blog", plain("/spec/listeners/0/port"), json!(8000), taken),
        ("Gateway", "mini-blog", plain("/spec/listeners/0/protocol"), json!("HTTPS"), taken),
        (
            "Gateway",
            "mini-blog",
            plain("/spec/listeners/0/allowedRoutes/namespaces/from"),
            json!("All"),
            taken,
        ),
    ]
}
