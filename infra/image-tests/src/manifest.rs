//! Flags of `docker run` from the manifests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifest_tests::object::{Cluster, Workload, at, list, selects, text};
use serde_json::Value;
use shared::ServiceName;
use std::collections::BTreeMap;
use system_tests::containers::{Container, Containers};

/// The six containers of a rendering, with images of this tag.
pub fn containers(cluster: &Cluster, tag: &str) -> Containers {
    let all = cluster.workloads().map(|workload| container(cluster, workload, tag));
    let all: BTreeMap<_, _> = all.map(|container| (container.service, container)).collect();
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), ServiceName::ALL, "a workload for each service");
    all
}

fn container(cluster: &Cluster, workload: Workload<'_>, tag: &str) -> Container {
    let name = workload.0.name();
    let pod = workload.pod();
    let all: Vec<_> = workload.containers().collect();
    let [container] = all[..] else { panic!("{name} has {} containers, not one", all.len()) };
    for unknown in ["command", "args", "envFrom"] {
        assert_eq!(at(container, &format!("/{unknown}")), &Value::Null, "{name}: {unknown} is not supported");
    }
    let image = text(at(container, "/image")).to_owned();
    let service = image.rsplit('/').next().unwrap_or_default();
    let service = service.split(':').next().unwrap_or_default().parse();
    let service = service.unwrap_or_else(|unknown| panic!("{name}: {unknown}"));
    let ports: BTreeMap<_, _> = list(at(container, "/ports"))
        .map(|port| (text(at(port, "/name")).to_owned(), number(at(port, "/containerPort")) as u16))
        .collect();
    let grace = number(at(pod, "/terminationGracePeriodSeconds"));
    let pause = number(at(container, "/lifecycle/preStop/sleep/seconds"));
    Container {
        service,
        environment: list(at(container, "/env")).map(|variable| environment(cluster, variable)).collect(),
        aliases: aliases(cluster, workload),
        volumes: volumes(pod, container),
        probes: workload
            .port(at(container, "/readinessProbe/httpGet/port"))
            .unwrap_or_else(|| panic!("{name}: the port of its probes")) as u16,
        grace: grace.checked_sub(pause).unwrap_or_else(|| panic!("{name}: the pause is all its grace")),
        user: (id(pod, "runAsUser"), id(pod, "runAsGroup")),
        security_flags: security_flags(pod, container),
        image: format!("{image}:{tag}"),
        ports,
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn environment(cluster: &Cluster, variable: &Value) -> (String, String) {
    let name = text(at(variable, "/name")).to_owned();
    if let Some(value) = at(variable, "/value").as_str() {
        return (name, value.to_owned());
    }
    let key = at(variable, "/valueFrom/secretKeyRef");
    let secret = cluster.find("Secret", text(at(key, "/name")));
    let secret = secret.unwrap_or_else(|| panic!("{name}: there is no such secret: {key}"));
    let value = text(at(&secret.0, &format!("/data/{}", text(at(key, "/key")))));
    // Long values have several lines.
    let value = STANDARD
        .decode(value.split_whitespace().collect::<String>())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let value = value.filter(|value| !value.is_empty());
    (name, value.unwrap_or_else(|| panic!("the secret has nothing for {key}")))
}

/// The names of the Services that lead to it. An alias cannot change ports, so theirs must be the container's.
fn aliases(cluster: &Cluster, workload: Workload<'_>) -> Vec<String> {
    let services = cluster.of_kind("Service");
    let leading = services.filter(|service| selects(service.at("/spec/selector"), workload.labels()));
    let aliases = leading.map(|service| {
        for port in list(service.at("/spec/ports")) {
            let inside = workload.port(at(port, "/targetPort"));
            assert_eq!(at(port, "/port").as_u64(), inside, "{}: port and targetPort", service.name());
        }
        service.name().to_owned()
    });
    aliases.collect()
}

fn volumes(pod: &Value, container: &Value) -> Vec<(String, String)> {
    let claim = |name: &Value| {
        let volume = list(at(pod, "/volumes")).find(|volume| at(volume, "/name") == name);
        let claim = volume.and_then(|volume| volume.pointer("/persistentVolumeClaim/claimName"));
        text(claim.unwrap_or_else(|| panic!("a volume without a claim is not supported: {name}"))).to_owned()
    };
    let mounts = list(at(container, "/volumeMounts"));
    mounts.map(|mount| (claim(at(mount, "/name")), text(at(mount, "/mountPath")).to_owned())).collect()
}

fn id(pod: &Value, name: &str) -> u32 {
    number(at(pod, &format!("/securityContext/{name}"))) as u32
}

fn security_flags(pod: &Value, container: &Value) -> Vec<String> {
    let is = |pointer: &str, wanted: bool| at(container, pointer) == &Value::Bool(wanted);
    let mut security_flags = vec![
        format!("--user={}:{}", id(pod, "runAsUser"), id(pod, "runAsGroup")),
        format!("--memory={}", bytes(text(at(container, "/resources/limits/memory")))),
        format!("--cpus={}", text(at(container, "/resources/limits/cpu"))),
    ];
    if is("/securityContext/readOnlyRootFilesystem", true) {
        security_flags.push("--read-only".to_owned());
    }
    if is("/securityContext/allowPrivilegeEscalation", false) {
        security_flags.push("--security-opt=no-new-privileges".to_owned());
    }
    let dropped = list(at(container, "/securityContext/capabilities/drop"));
    security_flags.extend(dropped.map(|capability| format!("--cap-drop={}", text(capability))));
    security_flags
}

/// A quantity of memory in bytes, in the notations that the manifests use.
fn bytes(quantity: &str) -> u64 {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let found = units.iter().find_map(|(unit, bits)| Some((quantity.strip_suffix(unit)?, *bits)));
    let (number, bits) = found.unwrap_or((quantity, 0));
    number.parse::<u64>().unwrap_or_else(|_| panic!("no quantity: {quantity:?}")) << bits
}
