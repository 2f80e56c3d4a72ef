//! What each way to put the manifests together is for.

use crate::object::Cluster;
use serde_json::json;

/// The kinds that a component brings, and nothing else does. What the others bring, the policies of its theme miss.
const BROUGHT: [(&str, &str); 4] = [
    ("gateway-api", "Gateway"),
    ("gateway-api", "HTTPRoute"),
    ("hpa", "HorizontalPodAutoscaler"),
    ("network-policy", "NetworkPolicy"),
];

/// What is listed is there, and what is there is listed: a line that is lost would be missed by nobody.
pub fn components_bring_what_they_are_for(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for (component, kind) in BROUGHT {
        let (listed, there) = (cluster.has(component), cluster.of_kind(kind).next().is_some());
        if listed != there {
            complaints.push(format!("component {component} is listed: {listed}; there is a {kind}: {there}"));
        }
    }
    complaints
}

/// With the certificate and by the controller that the overlay names, whatever is public there.
pub fn production_is_served_as_it_says(cluster: &Cluster) -> Vec<String> {
    if cluster.name != "production" {
        return vec![];
    }
    let mut complaints = Vec::new();
    for ingress in cluster.of_kind("Ingress") {
        for (pointer, wanted) in [
            ("/spec/tls", json!([{"secretName": "mini-blog-tls", "hosts": ["blog.example.com"]}])),
            ("/spec/ingressClassName", json!("traefik")),
        ] {
            let found = ingress.at(pointer);
            if *found != wanted {
                complaints.push(format!("{}: {pointer} is {found}, not {wanted}", ingress.name()));
            }
        }
    }
    complaints
}
