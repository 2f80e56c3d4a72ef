//! Which workloads may have several pods, and which must not.

use crate::object::{Cluster, Object, Workload, at, list, quantity, selects, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The least size of a claim.
const LEAST_ROOM: &str = "1Gi";

/// A workload that mounts a claim has one pod at any time, even while it is replaced, and shares the claim with none.
pub fn alone(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut holders: BTreeMap<&str, Vec<&str>> =
        cluster.of_kind("PersistentVolumeClaim").map(|claim| (claim.name(), Vec::new())).collect();
    for workload in cluster.workloads() {
        let name = workload.0.name();
        for claim in workload.claims() {
            match holders.get_mut(claim) {
                Some(holders) => holders.push(name),
                None => complaints.push(format!("{name}: the claim {claim} does not exist")),
            }
            if workload.0.at("/spec/replicas") != &json!(1) || cluster.is_scaled(workload) {
                complaints.push(format!("{name}: a second pod would be a second writer"));
            }
            if text(workload.0.at("/spec/strategy/type")) != "Recreate" {
                complaints.push(format!("{name}: an update would start the new pod beside the old one"));
            }
        }
        for claim in workload.own_claims() {
            if at(claim, "/spec/accessModes") != &json!(["ReadWriteOncePod"]) {
                complaints.push(format!("{name}: two pods could mount one claim: {claim}"));
            }
        }
        let data_dir = workload.setting("DATA_DIR");
        let mounted = workload.containers().flat_map(|c| list(at(c, "/volumeMounts"))).find(|mount| {
            let named = |v: &&Value| at(v, "/name") == at(mount, "/name");
            let volume = list(at(workload.pod(), "/volumes")).find(named);
            volume.is_some_and(|v| !at(v, "/persistentVolumeClaim").is_null())
                || workload.own_claims().any(|claim| at(claim, "/metadata/name") == at(mount, "/name"))
        });
        if data_dir.as_deref() != mounted.map(|mount| text(at(mount, "/mountPath"))) {
            complaints.push(format!("{name}: stores its data in {data_dir:?}, where no claim is mounted"));
        }
    }
    for (claim, holders) in holders {
        if holders.len() != 1 {
            complaints.push(format!("claim {claim}: is mounted by {holders:?}"));
        }
        let modes = cluster.find("PersistentVolumeClaim", claim).map(|claim| claim.at("/spec/accessModes"));
        if modes != Some(&json!(["ReadWriteOncePod"])) {
            complaints.push(format!("claim {claim}: two pods could mount it: {modes:?}"));
        }
    }
    complaints
}

/// No store is mounted read-only.
pub fn stores_can_be_written(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        let volumes = list(at(workload.pod(), "/volumes")).map(|v| at(v, "/persistentVolumeClaim/readOnly"));
        let mounts =
            workload.containers().flat_map(|c| list(at(c, "/volumeMounts"))).map(|m| at(m, "/readOnly"));
        if volumes.chain(mounts).any(|read_only| read_only == true) {
            complaints.push(format!("{}: its store is mounted read-only", workload.0.name()));
        }
    }
    complaints
}

/// Every claim has a size and uses the cluster's default class; only production may name a class.
pub fn claims_fit_any_cluster(cluster: &Cluster) -> Vec<String> {
    let least = quantity(&Value::from(LEAST_ROOM));
    let mut complaints = Vec::new();
    let claims = cluster.of_kind("PersistentVolumeClaim").map(|claim| (claim.name(), claim.at("/spec")));
    let own = cluster
        .workloads()
        .flat_map(|workload| workload.own_claims().map(move |claim| (workload.0.name(), at(claim, "/spec"))));
    for (name, claim) in claims.chain(own) {
        let found = at(claim, "/resources/requests/storage");
        if quantity(found) < least {
            complaints.push(format!("claim of {name}: its size is {found}, not {LEAST_ROOM}"));
        }
        let class = at(claim, "/storageClassName");
        if !class.is_null() && !cluster.is_production() {
            complaints.push(format!("claim of {name}: not every cluster has the class {class}"));
        }
    }
    complaints
}

/// A workload with several pods is spread over the nodes if possible, has a budget that lets one pod go at a time, and
/// is replaced without a gap; one with a single pod has no budget, which would block the drain of its node.
pub fn several_are_spread_and_budgeted(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        let name = workload.0.name();
        let several = has_several(cluster, workload);
        let budgeted = cluster
            .of_kind("PodDisruptionBudget")
            .any(|budget| selects(budget.at("/spec/selector/matchLabels"), workload.labels()));
        let over =
            list(at(workload.pod(), "/topologySpreadConstraints")).map(|s| text(at(s, "/topologyKey")));
        let spread = over.eq(["topology.kubernetes.io/zone", "kubernetes.io/hostname"]);
        let gapless = replaced_without_a_gap(workload);
        if [budgeted, spread, gapless] != [several; 3] {
            complaints.push(format!(
                "{name}: several {several}, budget {budgeted}, spread {spread}, replaced without a gap {gapless}"
            ));
        }
        for spread in list(at(workload.pod(), "/topologySpreadConstraints")) {
            if at(spread, "/whenUnsatisfiable") != "ScheduleAnyway" {
                complaints.push(format!("{name}: would not run where nodes are few: {spread}"));
            }
            // Kubernetes refuses it together with `ScheduleAnyway`.
            if !at(spread, "/minDomains").is_null() {
                complaints.push(format!("{name}: minDomains is refused: {spread}"));
            }
        }
        if cluster.is_scaled(workload) && !workload.0.at("/spec/replicas").is_null() {
            complaints.push(format!("{name}: each deployment would undo what the autoscaler has done"));
        }
    }
    for budget in cluster.of_kind("PodDisruptionBudget") {
        let found = budget.at("/spec/maxUnavailable");
        if found != &json!(1) {
            complaints.push(format!("{}: lets {found} go at a time, not one", budget.name()));
        }
        if !budget.at("/spec/minAvailable").is_null() {
            complaints.push(format!("{}: minAvailable is refused beside maxUnavailable", budget.name()));
        }
    }
    complaints
}

/// A Deployment starts the new pod before the old one stops. A StatefulSet replaces one pod after the other, while the
/// others serve.
fn replaced_without_a_gap(workload: Workload<'_>) -> bool {
    if workload.0.kind() == "StatefulSet" {
        return workload.0.at("/spec/updateStrategy").is_null()
            && workload.0.at("/spec/replicas") != &json!(1);
    }
    let update = workload.0.at("/spec/strategy/rollingUpdate");
    at(update, "/maxUnavailable") == &json!(0)
        && at(update, "/maxSurge").as_u64().is_some_and(|surge| surge > 0)
}

/// It scales a workload that exists, between two pods and more, and no policy keeps it from scaling up.
pub fn autoscaler_can_act(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for scaler in cluster.of_kind("HorizontalPodAutoscaler") {
        let (kind, name) = (scaler.at("/spec/scaleTargetRef/kind"), scaler.at("/spec/scaleTargetRef/name"));
        if cluster.find(text(kind), text(name)).is_none() {
            complaints.push(format!("{}: scales {name}, which does not exist", scaler.name()));
        }
        let (least, most) = bounds(scaler);
        if least < 2 || least > most {
            complaints.push(format!("{}: scales from {least} to {most}", scaler.name()));
        }
        if scaler.at("/spec/behavior/scaleUp/selectPolicy") == "Disabled" {
            complaints.push(format!("{}: never scales up", scaler.name()));
        }
    }
    complaints
}

/// The number of pods without the component `hpa` is one that its autoscaler may choose: adding it changes nothing at first.
pub fn scaled_around(base: &Cluster, cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    let website = |scaler: &&Object| scaler.name() == "client";
    for scaler in cluster.of_kind("HorizontalPodAutoscaler").filter(website) {
        let target = base.find("Deployment", text(scaler.at("/spec/scaleTargetRef/name")));
        let own = target.and_then(|target| target.at("/spec/replicas").as_u64());
        let (least, most) = bounds(scaler);
        if own.is_none_or(|own| own < least || own > most) {
            complaints.push(format!("{}: scales from {least} to {most}, around {own:?}", scaler.name()));
        }
    }
    complaints
}

/// The fewest and the most pods that an autoscaler chooses.
pub(super) fn bounds(scaler: &Object) -> (u64, u64) {
    let [least, most] =
        ["/spec/minReplicas", "/spec/maxReplicas"].map(|bound| scaler.at(bound).as_u64().unwrap_or(0));
    (least, most)
}

fn has_several(cluster: &Cluster, workload: Workload<'_>) -> bool {
    let replicas = workload.0.at("/spec/replicas").as_u64();
    cluster.is_scaled(workload) || replicas.is_some_and(|replicas| replicas > 1)
}
