//! Each policy notices its faults: copies of the real objects with one thing changed.

mod network;
mod overlays;
mod pods;
mod postgres;
mod replicas;
mod rollouts;
mod routes;
mod services;
mod settings;
mod writers;

use manifest_tests::object::Cluster;
use manifest_tests::policy::POLICIES;
use manifest_tests::policy::writers::scaled_around;
use manifest_tests::render;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is changed (kind, name, pointer, new value; null removes), and the policy that must notice.
type Fault = (&'static str, &'static str, String, Value, &'static str);

const DEPLOYMENT: &str = "Deployment";
const POSTS: &str = "posts-depl";
const QUERY: &str = "query-depl";
const CLIENT: &str = "client-depl";

/// A pointer into a Deployment's pod.
fn pod(rest: &str) -> String {
    format!("/spec/template/spec{rest}")
}

/// A pointer into a Deployment's container.
fn container(rest: &str) -> String {
    pod(&format!("/containers/0{rest}"))
}

/// A pointer into any object.
fn plain(pointer: &str) -> String {
    pointer.to_owned()
}

/// All faults, each with the rendering in which it is planted.
fn faults() -> Vec<(&'static str, Fault)> {
    let anywhere = [
        pods::faults(),
        rollouts::faults(),
        services::faults(),
        writers::faults(),
        settings::faults(),
        routes::faults(),
        network::faults(),
    ];
    let anywhere = anywhere.into_iter().flatten().map(|fault| (render::ALL, fault));
    let on_several = postgres::faults().into_iter().chain(replicas::faults());
    let on_several = on_several.map(|fault| (render::SCALE, fault));
    anywhere.chain(overlays::faults()).chain(on_several).collect()
}

/// What is removed (rendering, kind and name), and the policy that must notice.
const MISSING: &[(&str, &str, &str, &str)] = &[
    (render::ALL, "NetworkPolicy", "default-deny", "the network denies by default"),
    (render::ALL, "NetworkPolicy", "dns", "the network denies by default"),
    (render::ALL, "NetworkPolicy", "client", "network edges are allowed at both ends"),
    (render::ALL, "PodDisruptionBudget", "client", "replicated workloads survive a drain"),
    (render::ALL, "PersistentVolumeClaim", "posts-data", "a store has one writer"),
    (render::ALL, "Service", "query-deliveries-srv", "deliveries reach services that are not ready"),
    (render::ALL, "Ingress", "ingress-srv", "the Ingress has the public routes"),
    (render::ALL, "Ingress", "ingress-exact-srv", "exact paths come first with Traefik"),
    (render::ALL, "HTTPRoute", "mini-blog", "the HTTPRoute has the public routes"),
    (render::ALL, "Namespace", "mini-blog", "everything is in one namespace"),
    (render::ALL, "Deployment", "moderation-depl", "names are the course's"),
    (render::ALL, "HorizontalPodAutoscaler", "client", "each component adds its objects"),
    (render::SCALE, "NetworkPolicy", "postgres", "the network allows every call"),
    (render::SCALE, "PodDisruptionBudget", "event-bus", "replicated workloads survive a drain"),
    (render::SCALE, "PodDisruptionBudget", "query", "replicated workloads survive a drain"),
    (render::SCALE, "HorizontalPodAutoscaler", "comments", "what readers use is scaled"),
    (render::SCALE, "Service", "query-headless", "pods of query know their names"),
    (render::SCALE, "StatefulSet", "query", "names are the course's"),
    (render::SCALE, "Cluster", "postgres", "each component adds its objects"),
    (render::SCALE, "Database", "moderation", "each service has its own database"),
    (render::SCALE, "DatabaseRole", "event-bus", "each service has its own database"),
];

fn complaints(cluster: &Cluster, policy: &str) -> Vec<String> {
    let policy = POLICIES.iter().find(|known| known.name == policy);
    (policy.expect("a policy of that name").check)(cluster)
}

#[test]
fn every_fault_is_noticed_by_its_policy() {
    let faults = faults();
    for (rendering, (kind, name, pointer, value, policy)) in &faults {
        let Some(cluster) = render::one(rendering) else { return };
        let broken = cluster.with(kind, name, pointer, value.clone());
        assert!(
            !complaints(&broken, policy).is_empty(),
            "{policy:?} does not notice {kind} {name} {pointer} {value} in {rendering}"
        );
    }
    let noticing =
        faults.iter().map(|(_, (.., policy))| policy).chain(MISSING.iter().map(|(.., policy)| policy));
    let noticing: BTreeSet<_> = noticing.collect();
    for policy in POLICIES {
        assert!(noticing.contains(&policy.name), "no fault is planted for {:?}", policy.name);
    }
}

#[test]
fn an_autoscaler_that_would_begin_elsewhere_is_noticed() {
    let (Some(base), Some(all)) = (render::one("base"), render::one(render::ALL)) else { return };
    let more = base.with(DEPLOYMENT, CLIENT, "/spec/replicas", json!(8));
    assert_ne!(scaled_around(&more, all), [""; 0]);
    let fewer = base.with(DEPLOYMENT, CLIENT, "/spec/replicas", json!(1));
    assert_ne!(scaled_around(&fewer, all), [""; 0]);
}

#[test]
fn what_is_missing_altogether_is_noticed() {
    for (rendering, kind, name, policy) in MISSING {
        let Some(cluster) = render::one(rendering) else { return };
        assert!(
            !complaints(&cluster.without(kind, name), policy).is_empty(),
            "{policy:?} does not miss {kind} {name}"
        );
    }
}

#[test]
fn a_setting_that_is_left_out_or_a_secret_that_is_not_there_is_noticed() {
    let Some(dev) = render::one("dev") else { return };
    let variables =
        dev.find("Deployment", "comments-depl").expect("comments").at("/spec/template/spec/containers/0/env");
    for (index, variable) in variables.as_array().expect("a list").iter().enumerate() {
        // It has a default that serves.
        if variable["name"] == "LOG_FORMAT" {
            continue;
        }
        let pointer = format!("/spec/template/spec/containers/0/env/{index}");
        let broken = dev.with("Deployment", "comments-depl", &pointer, Value::Null);
        let noticed: usize = POLICIES.iter().map(|policy| (policy.check)(&broken).len()).sum();
        assert!(noticed > 0, "no policy misses {variable}");
    }
    let own = "each service gets its own secrets only";
    let secret = dev.of_kind("Secret").next().expect("the laptop's").name();
    assert!(!complaints(&dev.with("Secret", secret, "/metadata/name", json!("other")), own).is_empty());
    let production = Cluster { name: "production".to_owned(), ..dev.clone() };
    assert!(
        !complaints(&production, "no secret is in a manifest").is_empty(),
        "production renders no Secret"
    );
}
