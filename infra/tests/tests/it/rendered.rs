//! Every rendering against every policy.

use manifest_tests::policy::{POLICIES, network, writers};
use manifest_tests::render;
use manifest_tests::repository::{listed_edges, read};
use std::collections::BTreeMap;

#[test]
fn every_overlay_and_every_set_of_components_keeps_every_policy() {
    let Some(clusters) = render::all() else { return };
    let others = render::LAST_COMPONENTS.len() + render::EXAMPLES.len();
    assert_eq!(clusters.len(), render::OVERLAYS.len() + (1 << render::COMPONENTS.len()) + others);
    let mut complaints = BTreeMap::<String, Vec<&str>>::new();
    for (cluster, policy) in clusters.iter().flat_map(|c| POLICIES.iter().map(move |policy| (c, policy))) {
        for complaint in (policy.check)(cluster) {
            let line = format!("{} (protects from: {}): {complaint}", policy.name, policy.protects_from);
            complaints.entry(line).or_default().push(&cluster.name);
        }
    }
    let lines: Vec<_> = complaints
        .iter()
        .map(|(line, of)| format!("{line} [{} of {}: {}, …]", of.len(), clusters.len(), of[0]))
        .collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

#[test]
fn the_network_has_the_edges_that_the_architecture_lists() {
    let Some(clusters) = render::all() else { return };
    let architecture = read("docs/ARCHITECTURE.md");
    let always = listed_edges(&architecture, "Network policy");
    let databases = listed_edges(&architecture, "Network policy with PostgreSQL");
    for cluster in clusters.iter().filter(|cluster| cluster.has("network-policy")) {
        let allowed = network::edges(cluster).arriving;
        let listed = if cluster.has("postgres") { &always | &databases } else { always.clone() };
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
