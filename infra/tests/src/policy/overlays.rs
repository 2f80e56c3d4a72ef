//! What each overlay and component is for.

use crate::object::Cluster;
use serde_json::json;

/// The kinds that one component alone adds. What the other components add, other policies miss.
const BROUGHT: [(&str, &str); 8] = [
    ("gateway-api", "Gateway"),
    ("gateway-api", "HTTPRoute"),
    ("hpa", "HorizontalPodAutoscaler"),
    ("network-policy", "NetworkPolicy"),
    ("postgres", "Cluster"),
    ("postgres", "Database"),
    ("postgres", "DatabaseRole"),
    ("query-replicas", "StatefulSet"),
];

/// A component that is listed has its object, and the other way round.
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

/// Every Ingress of production has the certificate and the controller that the overlay names.
pub fn production_is_served_as_it_says(cluster: &Cluster) -> Vec<String> {
    if !cluster.is_production() {
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
