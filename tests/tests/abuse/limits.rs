//! The memory that the manifests grant to each service.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::fs;
use system_tests::{Stack, processes, program};

const MIB: u64 = 1024 * 1024;

/// The running processes, each limited to what its manifest grants.
///
/// A container engine would take root and images. The limit of a process (`RLIMIT_DATA`) is stricter than that of its
/// container for what it allocates: it counts memory that was never touched, and the stacks of threads. An allocation
/// beyond it fails, which ends the process. It does not count the system's buffers of sockets.
pub struct Limited(BTreeMap<ServiceName, Process>);

#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    granted: u64,
}

/// The process that came nearest to its limit.
pub struct Peak {
    pub service: ServiceName,
    pub used: u64,
    pub granted: u64,
}

impl Limited {
    pub fn new(stack: &Stack) -> Self {
        let limited = |(service, pid): (ServiceName, u32)| {
            let granted = granted(service);
            let limit = Rlimit { current: Some(granted), maximum: Some(granted) };
            prlimit(Pid::from_raw(pid.cast_signed()), Resource::Data, limit)
                .expect("its limit can be lowered");
            (service, Process { pid, granted })
        };
        Self(stack.pids().into_iter().map(limited).collect())
    }

    /// Fails if a process has ended, or has ever used more memory than its container has.
    pub fn held(&self, stack: &Stack) -> Peak {
        let pids: BTreeMap<_, _> = self.0.iter().map(|(service, process)| (*service, process.pid)).collect();
        assert_eq!(stack.pids(), pids, "a service has ended, and was started again");
        let peak = |(service, process): (&ServiceName, &Process)| {
            let used = processes::peak_memory_kib(process.pid) * 1024;
            Peak { service: *service, used, granted: process.granted }
        };
        let nearest = self.0.iter().map(peak).max_by_key(|peak| peak.used * 1000 / peak.granted);
        let nearest = nearest.expect("a service");
        assert!(nearest.used > 0 && nearest.used < nearest.granted, "{nearest}");
        nearest
    }
}

impl std::fmt::Display for Peak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} of {} MiB", self.service, self.used / MIB, self.granted / MIB)
    }
}

/// The memory limit in the manifest of a service, in bytes.
fn granted(service: ServiceName) -> u64 {
    let folder = if service == ServiceName::Frontend { "client" } else { service.as_str() };
    let file = program::root().join(format!("infra/k8s/base/{folder}/deployment.yaml"));
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let manifest: Value = serde_saphyr::from_str(&text).expect("YAML");
    let limit = &manifest["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"];
    let mib = limit.as_str().and_then(|text| text.strip_suffix("Mi")?.parse::<u64>().ok());
    mib.unwrap_or_else(|| panic!("{}: a memory limit in Mi, and not {limit}", file.display())) * MIB
}
