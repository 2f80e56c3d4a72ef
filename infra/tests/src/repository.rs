//! The other files of the repository that must agree with the manifests.

use crate::object::Cluster;
use crate::policy::network::Edge;
use crate::tools::root;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

pub fn skaffold() -> Value {
    serde_saphyr::from_str(&read("skaffold.yaml")).unwrap_or_else(|error| panic!("skaffold.yaml: {error}"))
}

/// The Pod of the lesson, which no overlay contains.
pub fn lesson() -> Cluster {
    Cluster::parse("the lesson", vec![], &read("infra/k8s/examples/lone-pod.yaml"))
}

/// The edges in the table of the architecture.
pub fn listed_edges(architecture: &str) -> BTreeSet<Edge> {
    let section = architecture.split("### Who may speak to whom").nth(1).expect("the list of edges");
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let port: u64 = cells[2].parse().unwrap_or_else(|_| panic!("a port: {row}"));
        let names =
            |cell: &str| cell.split(',').map(|n| n.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
        let (from, to) = (names(cells[0]), names(cells[1]));
        let pairs =
            from.into_iter().flat_map(move |from| to.clone().into_iter().map(move |to| (from.clone(), to)));
        pairs.map(move |(from, to)| Edge { from, to, port }).collect::<Vec<_>>()
    })
    .collect()
}
