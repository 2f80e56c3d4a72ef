//! The network policies as edges between workloads.

use super::settings::service_of;
use crate::object::{Cluster, Object, at, list, selects, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// `from` may open connections to this port of `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// A workload, or the label of a namespace without its prefix.
    pub from: String,
    pub to: String,
    pub port: u64,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}:{}", self.from, self.to, self.port)
    }
}

/// All edges except those of DNS, which every pod has.
#[derive(Debug, Default)]
pub struct Edges {
    /// Allowed by the rules of the receiver.
    pub arriving: BTreeSet<Edge>,
    /// Allowed by the rules of the sender.
    pub leaving: BTreeSet<Edge>,
    /// Rules that this module does not understand, and that may allow anything.
    pub strange: Vec<String>,
}

pub fn edges(cluster: &Cluster) -> Edges {
    let mut edges = Edges::default();
    for policy in cluster.of_kind("NetworkPolicy") {
        if policy.0.to_string().contains("\"matchExpressions\"") {
            edges
                .strange
                .push(format!("{}: selects by expressions, which are not understood here", policy.name()));
        }
        let own: Vec<_> = subjects(cluster, policy);
        for (direction, others) in [("ingress", "from"), ("egress", "to")] {
            for rule in list(policy.at(&format!("/spec/{direction}"))) {
                if is_dns(policy, rule) {
                    continue;
                }
                let peers: Option<Vec<String>> =
                    list(at(rule, &format!("/{others}"))).map(|peer| peer_name(cluster, peer)).collect();
                let ports: Option<Vec<u64>> = list(at(rule, "/ports")).map(port_of).collect();
                let (Some(peers), Some(ports)) = (peers, ports) else {
                    edges.strange.push(format!("{}: {rule}", policy.name()));
                    continue;
                };
                if peers.is_empty() || ports.is_empty() {
                    edges.strange.push(format!("{}: no peers or no ports means all: {rule}", policy.name()));
                }
                for (own, peer, port) in own
                    .iter()
                    .flat_map(|own| peers.iter().map(move |peer| (own, peer)))
                    .flat_map(|(own, peer)| ports.iter().map(move |port| (own, peer, *port)))
                {
                    if direction == "ingress" {
                        edges.arriving.insert(Edge { from: peer.clone(), to: own.clone(), port });
                    } else {
                        edges.leaving.insert(Edge { from: own.clone(), to: peer.clone(), port });
                    }
                }
            }
        }
    }
    edges
}

/// The workloads to which a policy applies; no selector means all.
fn subjects(cluster: &Cluster, policy: &Object) -> Vec<String> {
    let labels = policy.at("/spec/podSelector/matchLabels");
    let all = labels.is_null();
    cluster.workloads().filter(|w| all || selects(labels, w.labels())).map(|w| workload_name(w.0)).collect()
}

fn workload_name(workload: &Object) -> String {
    workload.name().trim_end_matches("-depl").to_owned()
}

/// The workload or the kind of namespace that a peer selects; `None` for anything else.
fn peer_name(cluster: &Cluster, peer: &Value) -> Option<String> {
    let fields = peer.as_object().filter(|fields| fields.len() == 1)?;
    if let Some(labels) = fields.get("podSelector").and_then(|s| s.get("matchLabels")) {
        let mut selected = cluster.selected(labels);
        let one = selected.next()?;
        return selected.next().is_none().then(|| workload_name(one.0));
    }
    let labels = fields.get("namespaceSelector")?.get("matchLabels")?.as_object()?;
    let (key, value) = labels.iter().next().filter(|_| labels.len() == 1)?;
    (value == "true").then(|| key.strip_prefix("mini-blog/").map(str::to_owned))?
}

/// A single TCP port, by its number.
fn port_of(port: &Value) -> Option<u64> {
    let plain =
        at(port, "/endPort").is_null() && [&Value::Null, &json!("TCP")].contains(&at(port, "/protocol"));
    plain.then(|| at(port, "/port").as_u64())?
}

/// DNS is the cluster's own, over UDP, and over TCP for long answers.
fn is_dns(policy: &Object, rule: &Value) -> bool {
    policy.name() == "dns"
        && rule
            == &json!({
                "to": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                }],
                "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
            })
}

/// What one side allows, the other allows too, on a port that exists.
pub fn edges_have_two_ends(cluster: &Cluster) -> Vec<String> {
    let Edges { arriving, leaving, strange: mut complaints } = edges(cluster);
    // The rules of other namespaces are not ours.
    let ours: BTreeSet<_> = cluster.workloads().map(|workload| workload_name(workload.0)).collect();
    let arriving_from_ours: BTreeSet<_> =
        arriving.iter().filter(|e| ours.contains(&e.from)).cloned().collect();
    for edge in arriving_from_ours.symmetric_difference(&leaving) {
        complaints.push(format!("{edge} is allowed at one end only"));
    }
    for edge in arriving.union(&leaving) {
        let called = cluster.workloads().find(|workload| workload_name(workload.0) == edge.to);
        if called.is_none_or(|workload| workload.port(&Value::from(edge.port)).is_none()) {
            complaints.push(format!("{edge}: the port does not exist"));
        }
    }
    if arriving.is_empty() == cluster.has("network-policy") {
        complaints.push(format!("{} edges in {}", arriving.len(), cluster.name));
    }
    complaints
}

/// One rule denies everything to all pods in both directions, one allows DNS to all, and every other rule names both
/// directions: a direction that a rule does not name is not restricted by it.
pub fn denied_by_default(cluster: &Cluster) -> Vec<String> {
    let both = json!(["Ingress", "Egress"]);
    let everybody = |policy: &Object| policy.at("/spec/podSelector") == &json!({});
    let denies = cluster.of_kind("NetworkPolicy").any(|policy| {
        everybody(policy) && policy.at("/spec/ingress").is_null() && policy.at("/spec/egress").is_null()
    });
    let resolves = cluster
        .of_kind("NetworkPolicy")
        .any(|policy| everybody(policy) && list(policy.at("/spec/egress")).any(|rule| is_dns(policy, rule)));
    let mut complaints = Vec::new();
    if [denies, resolves] != [cluster.has("network-policy"); 2] {
        complaints.push(format!("denied by default: {denies}, DNS allowed: {resolves}"));
    }
    for policy in cluster.of_kind("NetworkPolicy") {
        let wanted = if policy.name() == "dns" { &json!(["Egress"]) } else { &both };
        let found = policy.at("/spec/policyTypes");
        if found != wanted {
            complaints.push(format!("{}: applies to {found}, not {wanted}", policy.name()));
        }
    }
    complaints
}

/// Every address in the settings can be reached by the service that uses it, and what is public by the edge.
pub fn calls_are_let_through(cluster: &Cluster) -> Vec<String> {
    if !cluster.has("network-policy") {
        return vec![];
    }
    let allowed = edges(cluster).arriving;
    let mut complaints = Vec::new();
    let mut demand = |from: &str, service: &str, port: u64| {
        let Some(service) = cluster.find("Service", service) else { return };
        for behind in cluster.selected(service.at("/spec/selector")) {
            let edge = Edge { from: from.to_owned(), to: workload_name(behind.0), port };
            if !allowed.contains(&edge) {
                complaints.push(format!("{edge} is needed and not allowed"));
            }
        }
    };
    for workload in cluster.workloads() {
        for (name, url) in workload.settings().filter(|(name, _)| name.ends_with("_URL")) {
            let caller =
                if name == "ADVERTISE_URL" { "event-bus".to_owned() } else { workload_name(workload.0) };
            if let Some((service, port)) = service_of(url) {
                demand(&caller, service, port);
            }
        }
    }
    for path in cluster.of_kind("Ingress").flat_map(|i| list(i.at("/spec/rules/0/http/paths"))) {
        let service = text(at(path, "/backend/service/name"));
        let port =
            cluster.find("Service", service).and_then(|service| service.at("/spec/ports/0/port").as_u64());
        demand("edge", service, port.unwrap_or_default());
    }
    complaints
}
