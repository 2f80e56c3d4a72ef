//! The network policies as edges between workloads.

use super::postgres;
use super::settings::{DATABASE, service_of};
use crate::object::{Cluster, Object, at, list, selects, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// The pods of a workload, or of a database that the operator CloudNativePG runs.
struct Pods {
    name: String,
    labels: Value,
    ports: Vec<u64>,
}

fn pods(cluster: &Cluster) -> Vec<Pods> {
    let ours = cluster.workloads().map(|workload| Pods {
        name: workload_name(workload.0),
        labels: workload.labels().clone(),
        ports: workload
            .containers()
            .flat_map(|c| list(at(c, "/ports")))
            .filter_map(|port| at(port, "/containerPort").as_u64())
            .collect(),
    });
    let databases = cluster.of_kind("Cluster").map(|database| Pods {
        name: database.name().to_owned(),
        labels: json!({"cnpg.io/cluster": database.name()}),
        ports: vec![postgres::PORT, postgres::STATUS_PORT, postgres::METRICS_PORT],
    });
    ours.chain(databases).collect()
}

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
    let pods = pods(cluster);
    for policy in cluster.of_kind("NetworkPolicy") {
        if policy.0.to_string().contains("\"matchExpressions\"") {
            edges
                .strange
                .push(format!("{}: selects by expressions, which are not understood here", policy.name()));
        }
        let own: Vec<_> = subjects(&pods, policy);
        for (direction, others) in [("ingress", "from"), ("egress", "to")] {
            for rule in list(policy.at(&format!("/spec/{direction}"))) {
                if is_dns(policy, rule) || is_kubernetes_api(policy, rule) {
                    continue;
                }
                let peers: Option<Vec<String>> =
                    list(at(rule, &format!("/{others}"))).map(|peer| peer_name(&pods, peer)).collect();
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
fn subjects(pods: &[Pods], policy: &Object) -> Vec<String> {
    let labels = policy.at("/spec/podSelector/matchLabels");
    let all = labels.is_null();
    pods.iter().filter(|pods| all || selects(labels, &pods.labels)).map(|pods| pods.name.clone()).collect()
}

fn workload_name(workload: &Object) -> String {
    workload.name().trim_end_matches("-depl").to_owned()
}

/// The workload or the kind of namespace that a peer selects; `None` for anything else.
fn peer_name(pods: &[Pods], peer: &Value) -> Option<String> {
    let fields = peer.as_object().filter(|fields| fields.len() == 1)?;
    if let Some(labels) = fields.get("podSelector").and_then(|s| s.get("matchLabels")) {
        let mut selected = pods.iter().filter(|pods| selects(labels, &pods.labels));
        let one = selected.next()?;
        return selected.next().is_none().then(|| one.name.clone());
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

/// The operator's program in each instance of the database reads the Kubernetes API, at an address that no manifest knows.
fn is_kubernetes_api(policy: &Object, rule: &Value) -> bool {
    policy.name() == postgres::NAME && rule == &json!({"ports": [{"port": 443}, {"port": 6443}]})
}

/// What one side allows, the other allows too, on a port that exists.
pub fn edges_have_two_ends(cluster: &Cluster) -> Vec<String> {
    let Edges { arriving, leaving, strange: mut complaints } = edges(cluster);
    // The rules of other namespaces are not ours.
    let pods = pods(cluster);
    let ours: BTreeSet<_> = pods.iter().map(|pods| pods.name.clone()).collect();
    let arriving_from_ours: BTreeSet<_> =
        arriving.iter().filter(|e| ours.contains(&e.from)).cloned().collect();
    for edge in arriving_from_ours.symmetric_difference(&leaving) {
        complaints.push(format!("{edge} is allowed at one end only"));
    }
    for edge in arriving.union(&leaving) {
        let called = pods.iter().find(|pods| pods.name == edge.to);
        if called.is_none_or(|pods| !pods.ports.contains(&edge.port)) {
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
    let arriving = edges(cluster).arriving;
    let mut needed = Vec::new();
    let mut demand = |from: &str, service: &str, port: u64| {
        let Some(service) = cluster.find("Service", service) else { return };
        for behind in cluster.selected(service.at("/spec/selector")) {
            needed.push(Edge { from: from.to_owned(), to: workload_name(behind.0), port });
        }
    };
    for workload in cluster.workloads() {
        for (name, url) in workload.settings().into_iter().filter(|(name, _)| name.ends_with("_URL")) {
            let caller =
                if name == "ADVERTISE_URL" { "event-bus".to_owned() } else { workload_name(workload.0) };
            if let Some((service, port)) = service_of(&url) {
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
    for database in cluster.of_kind("Cluster") {
        let to = |from: &str, port| Edge { from: from.to_owned(), to: database.name().to_owned(), port };
        let services = cluster.workloads().filter(|workload| workload.setting(DATABASE).is_some());
        needed.extend(services.map(|workload| to(&workload_name(workload.0), postgres::PORT)));
        // Replication, and the states by which the operator and the instances choose a primary.
        for port in [postgres::PORT, postgres::STATUS_PORT] {
            needed.extend([to(database.name(), port), to("postgres-operator", port)]);
        }
    }
    let missing = needed.into_iter().filter(|edge| !arriving.contains(edge));
    let mut complaints: Vec<_> = missing.map(|edge| format!("{edge} is needed and not allowed")).collect();
    for database in cluster.of_kind("Cluster") {
        let mut rules = cluster.of_kind("NetworkPolicy").flat_map(|policy| {
            list(policy.at("/spec/egress")).map(move |rule| is_kubernetes_api(policy, rule))
        });
        if !rules.any(|is_api| is_api) {
            complaints.push(format!("{} cannot reach the Kubernetes API", database.name()));
        }
    }
    complaints
}
