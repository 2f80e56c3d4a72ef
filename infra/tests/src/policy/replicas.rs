//! The pods of query, which each have a file, a name and an address of their own.

use super::settings::service_of;
use crate::object::{Cluster, at, text};
use serde_json::{Value, json};

/// Each pod is told its own name, under which it subscribes, and which is its address and its host.
pub fn pods_know_their_names(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        let (name, pod) = (workload.0.name(), workload.first_pod());
        let found = workload.setting("INSTANCE");
        if found != pod {
            complaints.push(format!("{name}: INSTANCE is {found:?}, not {pod:?}"));
        }
        let Some(pod) = pod else { continue };
        let service = text(workload.0.at("/spec/serviceName"));
        let host = format!("{pod}.{service}");
        let url = workload.setting("ADVERTISE_URL").unwrap_or_default();
        let (address, _) = url.trim_start_matches("http://").split_once(':').unwrap_or_default();
        let allowed = workload.setting("ALLOWED_HOSTS").unwrap_or_default();
        // A name with a dot is refused if it is not allowed.
        if address != host || allowed.split(',').all(|allowed| allowed != host) {
            complaints.push(format!("{name}: advertises {url}, allows {allowed}, and is {host}"));
        }
        // Only such a Service gives each pod a name, also before it is ready.
        let headless = service_of(&url).and_then(|(name, _)| cluster.find("Service", name));
        let names = headless
            .is_some_and(|headless| headless.name() == service && headless.at("/spec/clusterIP") == "None");
        if !names {
            complaints.push(format!("{name}: its Service {service} gives its pods no names"));
        }
    }
    complaints
}

/// A pod that is scaled away takes its file along; pods start independently of each other.
pub fn files_go_with_their_pods(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads().filter(|workload| workload.first_pod().is_some()) {
        for (pointer, wanted) in [
            (
                "/spec/persistentVolumeClaimRetentionPolicy",
                json!({"whenScaled": "Delete", "whenDeleted": "Retain"}),
            ),
            ("/spec/podManagementPolicy", json!("Parallel")),
        ] {
            let found = workload.0.at(pointer);
            if *found != wanted {
                complaints.push(format!("{}: {pointer} is {found}, not {wanted}", workload.0.name()));
            }
        }
        let claims: Vec<&Value> = workload.own_claims().map(|claim| at(claim, "/metadata/name")).collect();
        if claims != [&json!("data")] {
            complaints.push(format!("{}: its claims are {claims:?}", workload.0.name()));
        }
    }
    complaints
}

/// In the overlay for several machines, an autoscaler for each workload whose load comes from readers.
pub fn what_readers_use_is_scaled(cluster: &Cluster) -> Vec<String> {
    let scaled = ["client-depl", "comments-depl", "posts-depl", "query"];
    let mut found: Vec<_> = cluster
        .of_kind("HorizontalPodAutoscaler")
        .map(|scaler| text(scaler.at("/spec/scaleTargetRef/name")))
        .collect();
    found.sort_unstable();
    if cluster.name.starts_with("scale") && found != scaled {
        return vec![format!("scaled are {found:?}, not {scaled:?}")];
    }
    vec![]
}
