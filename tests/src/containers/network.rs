//! A separate network for each deployment. Every service keeps its address on it when its container is started again, as
//! a Service does in a cluster.

use super::engine::{Engine, said};
use shared::ServiceName;
use std::net::Ipv4Addr;

/// The addresses of all networks, which are reserved for tests (RFC 2544).
const RANGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// How many addresses a network has: half for the services, half for the engine to assign.
const SIZE: u32 = 32;
/// How many networks fit.
const NETWORKS: u32 = (1 << 17) / SIZE;
/// The offset of the first service; this machine is before it.
const FIRST: u32 = 2;

#[derive(Debug, Clone)]
pub struct Network {
    pub name: String,
    base: u32,
}

impl Network {
    /// Creates a network that overlaps with no other of the engine.
    pub async fn create(engine: &Engine, name: &str) -> Self {
        let mut refused = String::new();
        for _ in 0..NETWORKS {
            let base = RANGE.to_bits() + fastrand::u32(..NETWORKS) * SIZE;
            let at = |offset: u32, bits: u32| format!("{}/{bits}", Ipv4Addr::from_bits(base + offset));
            let subnet = format!("--subnet={}", at(0, 27));
            let others = format!("--ip-range={}", at(SIZE / 2, 28));
            let gateway = format!("--gateway={}", Ipv4Addr::from_bits(base + 1));
            let label = engine.label();
            let made = engine.output(&["network", "create", &label, &subnet, &others, &gateway, name]).await;
            if made.status.success() {
                return Self { name: name.to_owned(), base };
            }
            refused = said(&made);
            assert!(refused.contains("overlaps"), "docker network create: {refused}");
        }
        panic!("no free range for another network: {refused}");
    }

    /// The address of this machine for containers.
    pub fn machine(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1)
    }

    pub fn address(&self, service: ServiceName) -> Ipv4Addr {
        let place = ServiceName::ALL.iter().position(|s| *s == service).expect("all are there");
        Ipv4Addr::from_bits(self.base + FIRST + place as u32)
    }
}
