//! What a rendering takes of a cluster.

use crate::object::{Cluster, Workload, at, quantity, text};
use serde_json::Value;
use std::fmt;

/// Sums over all pods, those of the database among them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    pub pods: u64,
    /// In thousandths.
    pub processors: u64,
    /// In bytes.
    pub memory: u64,
    /// In bytes: the most that all pods may use.
    pub memory_limit: u64,
    pub claims: u64,
    /// In bytes.
    pub storage: u64,
}

/// How many pods autoscalers have chosen.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    Least,
    Most,
}

pub fn costs(cluster: &Cluster, load: Load) -> Costs {
    let mut sum = Costs::default();
    for workload in cluster.workloads() {
        let pods = pods(cluster, workload, load);
        for container in workload.containers() {
            sum.add(pods, at(container, "/resources"));
        }
        sum.pods += pods;
        for claim in workload.own_claims() {
            sum.store(pods, at(claim, "/spec/resources/requests/storage"));
        }
    }
    for claim in cluster.of_kind("PersistentVolumeClaim") {
        sum.store(1, claim.at("/spec/resources/requests/storage"));
    }
    for database in cluster.of_kind("Cluster") {
        let pods = database.at("/spec/instances").as_u64().unwrap_or_default();
        sum.add(pods, database.at("/spec/resources"));
        sum.pods += pods;
        sum.store(pods, database.at("/spec/storage/size"));
        sum.store(pods, database.at("/spec/walStorage/size"));
    }
    sum
}

fn pods(cluster: &Cluster, workload: Workload<'_>, load: Load) -> u64 {
    let scaler = cluster
        .of_kind("HorizontalPodAutoscaler")
        .find(|scaler| text(scaler.at("/spec/scaleTargetRef/name")) == workload.0.name());
    let chosen = scaler.map(|scaler| match load {
        Load::Least => scaler.at("/spec/minReplicas"),
        Load::Most => scaler.at("/spec/maxReplicas"),
    });
    chosen.unwrap_or_else(|| workload.0.at("/spec/replicas")).as_u64().unwrap_or(1)
}

impl Costs {
    fn add(&mut self, pods: u64, resources: &Value) {
        self.processors += pods * thousandths(at(resources, "/requests/cpu"));
        self.memory += pods * thousandths(at(resources, "/requests/memory")) / 1000;
        self.memory_limit += pods * thousandths(at(resources, "/limits/memory")) / 1000;
    }

    fn store(&mut self, pods: u64, size: &Value) {
        self.claims += pods;
        self.storage += pods * thousandths(size) / 1000;
    }
}

fn thousandths(value: &Value) -> u64 {
    quantity(value).unwrap_or_else(|| panic!("no quantity: {value}"))
}

/// The rows of a table with a column for each of these.
pub fn table(columns: &[Costs]) -> Vec<String> {
    let row = |name: &str, cell: &dyn Fn(&Costs) -> String| {
        let cells: Vec<_> = columns.iter().map(cell).collect();
        format!("| {name} | {} |", cells.join(" | "))
    };
    vec![
        row("pods", &|costs| costs.pods.to_string()),
        row("processors requested", &|costs| Thousandths(costs.processors).to_string()),
        row("memory requested", &|costs| format!("{} MiB", costs.memory >> 20)),
        row("memory at most", &|costs| format!("{} MiB", costs.memory_limit >> 20)),
        row("claims", &|costs| format!("{} of {} GiB together", costs.claims, costs.storage >> 30)),
    ]
}

struct Thousandths(u64);

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}
