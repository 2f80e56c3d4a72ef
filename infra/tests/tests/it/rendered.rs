//! Every rendering against every policy.

use manifest_tests::object::Cluster;
use manifest_tests::policy::{POLICIES, network, writers};
use manifest_tests::render;
use manifest_tests::repository::{listed_edges, read};

#[test]
fn every_overlay_and_every_set_of_components_keeps_every_policy() {
    let Some(clusters) = render::all() else { return };
    assert_eq!(clusters.len(), render::OVERLAYS.len() + (1 << render::COMPONENTS.len()));
    let complaints: Vec<String> = clusters.iter().flat_map(complaints).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn complaints(cluster: &Cluster) -> Vec<String> {
    let all = POLICIES.iter().flat_map(|(name, policy)| policy(cluster).into_iter().map(move |c| (name, c)));
    all.map(|(policy, complaint)| format!("{}: {policy}: {complaint}", cluster.name)).collect()
}

#[test]
fn the_network_has_the_edges_that_the_architecture_lists() {
    let Some(clusters) = render::all() else { return };
    let listed = listed_edges(&read("docs/ARCHITECTURE.md"));
    for cluster in clusters.iter().filter(|cluster| cluster.has("network-policy")) {
        let allowed = network::edges(cluster).arriving;
        let differing: Vec<_> = listed.symmetric_difference(&allowed).map(ToString::to_string).collect();
        assert!(differing.is_empty(), "{}: listed or allowed, not both: {differing:?}", cluster.name);
    }
}

#[test]
fn the_autoscaler_scales_around_what_runs_without_it() {
    let (Some(base), Some(clusters)) = (render::one("base"), render::all()) else { return };
    let complaints: Vec<_> =
        clusters.iter().flat_map(|cluster| writers::scaled_around(base, cluster)).collect();
    assert_eq!(complaints, [""; 0]);
}
