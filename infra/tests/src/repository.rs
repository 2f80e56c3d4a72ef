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

/// The paths of all files whose names end so (all of them for nothing), without what is generated, installed or hidden.
pub fn files(extension: &str) -> Vec<String> {
    const GENERATED: [&str; 3] = ["target", "data", "node_modules"];
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') || GENERATED.contains(&name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if extension.is_empty() || path.extension().is_some_and(|end| end == extension) {
                found
                    .extend(path.strip_prefix(root()).ok().and_then(|path| path.to_str()).map(str::to_owned));
            }
        }
    }
    found
}

pub fn skaffold() -> Value {
    serde_saphyr::from_str(&read("skaffold.yaml")).unwrap_or_else(|error| panic!("skaffold.yaml: {error}"))
}

/// The Pod of the lesson, which no overlay contains.
pub fn lesson() -> Cluster {
    Cluster::parse("the lesson", vec![], &read("infra/k8s/examples/lone-pod.yaml"))
}

/// The edges in the table under this heading of the architecture.
pub fn listed_edges(architecture: &str, heading: &str) -> BTreeSet<Edge> {
    let section = architecture.split(&format!("\n### {heading}\n")).nth(1).expect("the list of edges");
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
