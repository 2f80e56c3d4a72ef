//! PostgreSQL, run by the operator CloudNativePG, and the services that keep their state in it.

use super::settings::{DATABASE, workloads};
use super::writers::bounds;
use crate::object::{Cluster, Object, Workload, at, list, quantity, text};
use serde_json::{Value, json};
use shared::ServiceName;
use std::collections::{BTreeMap, BTreeSet};

/// The name of the one cluster of PostgreSQL.
pub const NAME: &str = "postgres";
pub const PORT: u64 = 5432;
/// Where each instance tells the operator its state.
pub const STATUS_PORT: u64 = 8000;
pub const METRICS_PORT: u64 = 9187;

/// The services that keep state for others; query has a file of its own in any case.
pub const USERS: [ServiceName; 4] =
    [ServiceName::Posts, ServiceName::Comments, ServiceName::Moderation, ServiceName::EventBus];

/// The most connections that one pod of a service opens.
const CONNECTIONS: u64 = 8;
/// Connections for the operator, replication and a person with `psql`.
const RESERVED: u64 = 20;

/// Whether these differ, as a complaint.
fn differs(object: &Object, pointer: &str, wanted: &Value) -> Option<String> {
    let found = object.at(pointer);
    (found != wanted)
        .then(|| format!("{} {}: {pointer} is {found}, not {wanted}", object.kind(), object.name()))
}

/// A commit is on two nodes before it is acknowledged, and only an instance that has it is promoted.
pub fn commits_are_on_two_nodes(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for database in cluster.of_kind("Cluster") {
        let synchronous =
            json!({"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": true});
        let affinity = json!({
            "enablePodAntiAffinity": true,
            "podAntiAffinityType": "required",
            "topologyKey": "kubernetes.io/hostname",
        });
        for (pointer, wanted) in [
            ("/spec/postgresql/synchronous", synchronous),
            ("/spec/affinity", affinity),
            // With two, writes would wait whenever one is replaced.
            ("/spec/instances", json!(3)),
            ("/spec/enablePDB", json!(true)),
        ] {
            complaints.extend(differs(database, pointer, &wanted));
        }
        for unsafe_parameter in ["fsync", "full_page_writes", "synchronous_commit"] {
            let found = database.at(&format!("/spec/postgresql/parameters/{unsafe_parameter}"));
            if !found.is_null() {
                complaints.push(format!("{}: {unsafe_parameter} is {found}", database.name()));
            }
        }
    }
    complaints
}

/// UTF-8, ordered byte by byte, in the cluster and in each database.
pub fn texts_compare_by_bytes(cluster: &Cluster) -> Vec<String> {
    const FIELDS: [(&str, &str); 3] = [("encoding", "UTF8"), ("localeCollate", "C"), ("localeCType", "C")];
    let mut complaints = Vec::new();
    for (kind, under) in [("Cluster", "/spec/bootstrap/initdb"), ("Database", "/spec")] {
        // A cluster that is made from a backup has what the backup has.
        for object in cluster.of_kind(kind).filter(|o| o.at("/spec/bootstrap/recovery").is_null()) {
            for (field, wanted) in FIELDS {
                complaints.extend(differs(object, &format!("{under}/{field}"), &json!(wanted)));
            }
        }
    }
    complaints
}

/// Each service that has its state in PostgreSQL has a database and a role of its name, and reaches no other.
pub fn each_service_has_its_own_database(cluster: &Cluster) -> Vec<String> {
    let users: BTreeSet<_> = workloads(cluster)
        .filter(|(_, workload)| workload.setting(DATABASE).is_some())
        .map(|(service, _)| service.as_str())
        .collect();
    let wanted: BTreeSet<_> =
        if cluster.has("postgres") { USERS.map(ServiceName::as_str).into() } else { BTreeSet::new() };
    let mut complaints = Vec::new();
    if users != wanted {
        complaints.push(format!("in PostgreSQL are {users:?}, not {wanted:?}"));
    }
    for kind in ["Database", "DatabaseRole"] {
        let found: BTreeSet<_> = cluster.of_kind(kind).map(|object| text(object.at("/spec/name"))).collect();
        if found != wanted {
            complaints.push(format!("{kind}: {found:?}, not {wanted:?}"));
        }
        for object in cluster.of_kind(kind) {
            complaints.extend(differs(object, "/spec/cluster/name", &json!(NAME)));
        }
    }
    for database in cluster.of_kind("Database") {
        complaints.extend(differs(database, "/spec/owner", database.at("/spec/name")));
        for policy in ["/spec/databaseReclaimPolicy", "/spec/ensure"] {
            complaints.extend(differs(database, policy, &Value::Null));
        }
    }
    for role in cluster.of_kind("DatabaseRole") {
        let secret = format!("{NAME}-{}", text(role.at("/spec/name")));
        // Nothing else: each attribute of a role that is missing is the one with fewer rights.
        let spec = json!({
            "cluster": {"name": NAME},
            "name": role.at("/spec/name"),
            "login": true,
            "passwordSecret": {"name": secret},
        });
        complaints.extend(differs(role, "/spec", &spec));
    }
    for database in cluster.of_kind("Cluster") {
        let rules = json!(["hostssl sameuser all all scram-sha-256", "host all all all reject"]);
        complaints.extend(differs(database, "/spec/postgresql/pg_hba", &rules));
        complaints.extend(differs(database, "/spec/enableSuperuserAccess", &json!(false)));
        complaints.extend(differs(database, "/metadata/name", &json!(NAME)));
    }
    complaints
}

/// The address of the service's own database and the authority's certificate are files in one folder, which change when
/// their Secrets do. No other Secret is mounted, and no key.
pub fn addresses_are_mounted(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        let name = text(at(workload.labels(), "/app.kubernetes.io~1name"));
        let found = mounted_secrets(workload);
        let file = |folder: &str, file: &str| format!("{folder}/{file}");
        let wanted: BTreeMap<String, (String, String)> = match workload.setting(DATABASE) {
            None => BTreeMap::new(),
            Some(url) => {
                let folder = url.rsplit_once('/').map_or("", |(folder, _)| folder);
                [
                    (url.clone(), (format!("{NAME}-{name}"), "url".to_owned())),
                    (file(folder, "ca.crt"), (format!("{NAME}-ca"), "ca.crt".to_owned())),
                ]
                .into()
            }
        };
        if found.as_ref() != Some(&wanted) {
            complaints.push(format!("{name}: mounts {found:?}, not {wanted:?}"));
        }
    }
    complaints
}

/// The files that are keys of Secrets; `None` if there is something that this function does not understand.
fn mounted_secrets(workload: Workload<'_>) -> Option<BTreeMap<String, (String, String)>> {
    let mut files = BTreeMap::new();
    for volume in list(at(workload.pod(), "/volumes")) {
        if !at(volume, "/secret").is_null() {
            return None;
        }
        let Some(projected) = volume.get("projected") else { continue };
        let mounts = workload.containers().flat_map(|c| list(at(c, "/volumeMounts")));
        let folders = mounts.filter(|mount| at(mount, "/name") == at(volume, "/name"));
        for (folder, source) in
            folders.flat_map(|folder| list(at(projected, "/sources")).map(move |source| (folder, source)))
        {
            let secret = source.get("secret")?;
            let plain = at(folder, "/subPath").is_null() && at(secret, "/optional").is_null();
            let items = at(secret, "/items").as_array().filter(|_| plain)?;
            for item in items {
                let file = format!("{}/{}", text(at(folder, "/mountPath")), text(at(item, "/path")));
                files.insert(file, (text(at(secret, "/name")).to_owned(), text(at(item, "/key")).to_owned()));
            }
        }
        // Readable by the pod's group alone: 0440.
        if at(projected, "/defaultMode") != &json!(0o440) {
            return None;
        }
    }
    Some(files)
}

/// All pods at once, with one more of each service during an update, find a connection.
pub fn connections_suffice(cluster: &Cluster) -> Vec<String> {
    let pods = |workload: Workload<'_>| {
        let scaler = cluster
            .of_kind("HorizontalPodAutoscaler")
            .find(|scaler| text(scaler.at("/spec/scaleTargetRef/name")) == workload.0.name());
        let most = scaler.map(|scaler| bounds(scaler).1);
        most.unwrap_or_else(|| workload.0.at("/spec/replicas").as_u64().unwrap_or(1)) + 1
    };
    let users = cluster.workloads().filter(|workload| workload.setting(DATABASE).is_some());
    let needed = users.map(pods).sum::<u64>() * CONNECTIONS + RESERVED;
    let mut complaints = Vec::new();
    for database in cluster.of_kind("Cluster") {
        let found = text(database.at("/spec/postgresql/parameters/max_connections"));
        if found.parse::<u64>().ok().is_none_or(|found| found < needed) {
            complaints.push(format!("max_connections is {found:?}, and {needed} are needed"));
        }
    }
    complaints
}

/// A session that has lost its pod is noticed after 11 s: until then it holds its locks.
pub fn dead_sessions_end(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for database in cluster.of_kind("Cluster") {
        for (parameter, wanted) in [("idle", "5"), ("interval", "2"), ("count", "3")] {
            let pointer = format!("/spec/postgresql/parameters/tcp_keepalives_{parameter}");
            complaints.extend(differs(database, &pointer, &json!(wanted)));
        }
    }
    complaints
}

/// Sessions are the services' own: they keep locks in them and listen for notifications.
pub fn no_pooler(cluster: &Cluster) -> Vec<String> {
    cluster.of_kind("Pooler").map(|pooler| format!("{} pools sessions", pooler.name())).collect()
}

/// One version of PostgreSQL, room for the data and for the WAL apart from it, and memory and processors of its own.
pub fn instances_have_room(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    let least = quantity(&json!("1Gi"));
    for database in cluster.of_kind("Cluster") {
        let image = text(database.at("/spec/imageName"));
        let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map_or("", |(_, tag)| tag);
        let numbers = tag.split(['.', '-']).take(2).filter(|part| part.parse::<u32>().is_ok()).count();
        if numbers != 2 {
            complaints.push(format!("which version of PostgreSQL is {image:?}?"));
        }
        for storage in ["/spec/storage", "/spec/walStorage"] {
            if quantity(database.at(&format!("{storage}/size"))) < least {
                complaints.push(format!("{storage} is {}", database.at(storage)));
            }
            let class = database.at(&format!("{storage}/storageClass"));
            if !class.is_null() && !cluster.is_production() {
                complaints.push(format!("not every cluster has the class {class}"));
            }
        }
        let [requests, limits] =
            ["/spec/resources/requests", "/spec/resources/limits"].map(|p| database.at(p));
        let whole = ["/cpu", "/memory"].iter().all(|what| quantity(at(limits, what)).is_some());
        if requests != limits || !whole {
            complaints.push(format!("instances request {requests} with limits {limits}"));
        }
    }
    complaints
}
