//! Names and ports of Services, and the namespace.

use super::traefik;
use crate::names::{cluster_service, deployment, stateful_set};
use crate::object::{Cluster, at, list, text};
use shared::ServiceName;
use std::collections::BTreeSet;

/// The course's NodePort Service.
const NODE_PORT: &str = "posts-srv";
/// Through it query gets deliveries before it is ready.
const DELIVERIES: &str = "query-deliveries-srv";
/// Through it each of several pods of query gets its own.
const HEADLESS: &str = "query-headless";
const NAMESPACE: &str = "mini-blog";

/// Every selector of a Deployment, a Service or a budget matches the pods of one workload.
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
        ("StatefulSet", "/spec/selector/matchLabels"),
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

/// Every port of a Service is, by name, a TCP port of the container behind it.
pub fn ports_lead_somewhere(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for service in cluster.of_kind("Service") {
        for port in list(service.at("/spec/ports")) {
            let target = at(port, "/targetPort");
            let protocols = cluster
                .selected(service.at("/spec/selector"))
                .flat_map(|w| w.containers().flat_map(|c| list(at(c, "/ports"))))
                .map(|port| at(port, "/protocol"));
            for protocol in protocols.chain([at(port, "/protocol")]) {
                if !protocol.is_null() && protocol != "TCP" {
                    complaints.push(format!("{}: a port has the protocol {protocol}", service.name()));
                }
            }
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

/// No traffic stays on the node or the pod that it first came to.
pub fn reach_all_pods(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for service in cluster.of_kind("Service") {
        for (field, all) in [
            ("internalTrafficPolicy", "Cluster"),
            ("externalTrafficPolicy", "Cluster"),
            ("sessionAffinity", "None"),
        ] {
            let found = service.at(&format!("/spec/{field}"));
            if !found.is_null() && found != all {
                complaints.push(format!("{}: {field} is {found}", service.name()));
            }
        }
    }
    complaints
}

/// Deployments and Services have the course's names and ports.
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
    // Only query has pods that must be told apart, and only where it has several.
    let several = cluster.has("query-replicas");
    let is_set = |service: &ServiceName| several && *service == ServiceName::Query;
    compare("Deployment", services.iter().filter(|s| !is_set(s)).map(|s| deployment(*s)).collect());
    compare(
        "StatefulSet",
        services.iter().filter(|s| is_set(s)).map(|s| stateful_set(*s).to_owned()).collect(),
    );
    let with_traefik = cluster.has("traefik").then_some(traefik::NAME);
    compare("Ingress", ["ingress-srv"].into_iter().chain(with_traefik).map(str::to_owned).collect());
    let with_nodeport = cluster.has("nodeport").then_some(NODE_PORT);
    let deliveries = if several { HEADLESS } else { DELIVERIES };
    let ours = services.map(cluster_service).into_iter().chain([deliveries]).chain(with_nodeport);
    compare("Service", ours.map(str::to_owned).collect());
    for service in services {
        let found = cluster.find("Service", cluster_service(service));
        let port = found.and_then(|object| object.at("/spec/ports/0/port").as_u64());
        if port != Some(service.default_port().into()) {
            complaints.push(format!("{service}: port {port:?}, not the course's"));
        }
        let behind = found.and_then(|object| cluster.selected(object.at("/spec/selector")).next());
        let wanted = if is_set(&service) { stateful_set(service).to_owned() } else { deployment(service) };
        if behind.is_none_or(|workload| workload.0.name() != wanted) {
            complaints.push(format!("{service}: its Service leads to another workload"));
        }
    }
    complaints
}

/// ClusterIP without external addresses, except the Service of the component `nodeport`.
pub fn only_the_nodeport_opens_a_port(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for service in cluster.of_kind("Service") {
        let wanted = if service.name() == NODE_PORT { "NodePort" } else { "ClusterIP" };
        let found = text(service.at("/spec/type"));
        if found != wanted || !service.at("/spec/externalIPs").is_null() {
            complaints.push(format!("{}: is {found}, not {wanted}", service.name()));
        }
        for port in list(service.at("/spec/ports")).filter(|port| !at(port, "/nodePort").is_null()) {
            complaints.push(format!("{}: the cluster chooses the node's port, not {port}", service.name()));
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

/// Every object names the namespace, and the namespace enforces the level `restricted`.
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
        complaints.push(format!("{NAMESPACE}: admits pods of the level {level:?}"));
    }
    complaints
}
