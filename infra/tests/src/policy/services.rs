//! Who is found under which name and port.

use super::traefik;
use crate::object::{Cluster, at, list, text};
use shared::ServiceName;
use std::collections::BTreeSet;

/// The course's NodePort.
const NODE_PORT: &str = "posts-srv";
/// Where query takes deliveries before it is ready.
const DELIVERIES: &str = "query-deliveries-srv";
/// Where everything is.
const NAMESPACE: &str = "mini-blog";

/// The name that a service's objects bear: the course calls the website its client.
pub fn object_name(service: ServiceName) -> &'static str {
    if service == ServiceName::Frontend { "client" } else { service.as_str() }
}

/// Every selector of a workload, a Service, a budget or a rule of the network matches pods.
pub fn selectors_match(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads().filter(|workload| workload.0.kind() != "Pod") {
        if !crate::object::selects(workload.0.at("/spec/selector/matchLabels"), workload.labels()) {
            complaints.push(format!("{}: does not select its own pods", workload.0.name()));
        }
        for spread in list(at(workload.pod(), "/topologySpreadConstraints")) {
            if !crate::object::selects(at(spread, "/labelSelector/matchLabels"), workload.labels()) {
                complaints.push(format!("{}: spreads other pods than its own", workload.0.name()));
            }
        }
    }
    for (kind, pointer) in [
        ("Service", "/spec/selector"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("Deployment", "/spec/selector/matchLabels"),
    ] {
        for object in cluster.of_kind(kind) {
            let selected = cluster.selected(object.at(pointer)).count();
            if selected != 1 {
                complaints.push(format!("{kind} {}: selects {selected} workloads, not one", object.name()));
            }
        }
    }
    complaints
}

/// Every port of a Service is a port, by its name, of the container behind it.
pub fn ports_lead_somewhere(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for service in cluster.of_kind("Service") {
        for port in list(service.at("/spec/ports")) {
            let target = at(port, "/targetPort");
            let mut behind = cluster.selected(service.at("/spec/selector"));
            let found = behind.find_map(|workload| workload.port(target));
            if !target.is_string() || found.is_none() || found != at(port, "/port").as_u64() {
                complaints.push(format!(
                    "{}: port {} leads to {target}: {found:?}",
                    service.name(),
                    at(port, "/port")
                ));
            }
        }
    }
    complaints
}

/// Deployments and Services have the course's names, and the course's ports.
pub fn names_of_the_course(cluster: &Cluster) -> Vec<String> {
    let names = |kind| cluster.of_kind(kind).map(|o| o.name().to_owned()).collect::<BTreeSet<_>>();
    let mut complaints = Vec::new();
    let mut compare = |kind, wanted: BTreeSet<String>| {
        let found = names(kind);
        if found != wanted {
            complaints.push(format!("{kind}: {found:?}, not {wanted:?}"));
        }
    };
    let services = ServiceName::ALL;
    compare("Deployment", services.map(|service| format!("{}-depl", object_name(service))).into());
    let with_traefik = cluster.has("traefik").then_some(traefik::NAME);
    compare("Ingress", ["ingress-srv"].into_iter().chain(with_traefik).map(str::to_owned).collect());
    let with_nodeport = cluster.has("nodeport").then_some(NODE_PORT);
    let ours =
        services.map(ServiceName::cluster_service).into_iter().chain([DELIVERIES]).chain(with_nodeport);
    compare("Service", ours.map(str::to_owned).collect());
    for service in services {
        let found = cluster.find("Service", service.cluster_service());
        let port = found.and_then(|object| object.at("/spec/ports/0/port").as_u64());
        if port != Some(service.default_port().into()) {
            complaints.push(format!("{service}: port {port:?}, not the course's"));
        }
        let behind = found.and_then(|object| cluster.selected(object.at("/spec/selector")).next());
        if behind.is_none_or(|workload| workload.0.name() != format!("{}-depl", object_name(service))) {
            complaints.push(format!("{service}: its Service leads to somebody else"));
        }
    }
    complaints
}

/// ClusterIP, without outside addresses; but for the course's NodePort, where its component is.
pub fn only_the_nodeport_opens_a_port(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for service in cluster.of_kind("Service") {
        let wanted = if service.name() == NODE_PORT { "NodePort" } else { "ClusterIP" };
        let found = text(service.at("/spec/type"));
        if found != wanted || !service.at("/spec/externalIPs").is_null() {
            complaints.push(format!("{}: is {found}, not {wanted}", service.name()));
        }
    }
    for (workload, port) in cluster
        .workloads()
        .flat_map(|w| w.containers().flat_map(|c| list(at(c, "/ports"))).map(move |port| (w, port)))
    {
        if !at(port, "/hostPort").is_null() {
            complaints.push(format!("{}: opens a port of its node", workload.0.name()));
        }
    }
    complaints
}

/// Nothing falls into whatever namespace is the current one.
pub fn in_one_namespace(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for object in &cluster.objects {
        let pointer = if object.kind() == "Namespace" { "/metadata/name" } else { "/metadata/namespace" };
        if text(object.at(pointer)) != NAMESPACE {
            complaints.push(format!("{} {}: is not in {NAMESPACE}", object.kind(), object.name()));
        }
    }
    let enforced = cluster.find("Namespace", NAMESPACE);
    let level =
        enforced.map(|object| text(object.at("/metadata/labels/pod-security.kubernetes.io~1enforce")));
    if level != Some("restricted") {
        complaints.push(format!("{NAMESPACE}: takes pods of the level {level:?}"));
    }
    complaints
}
