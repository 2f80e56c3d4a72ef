//! A network of its own for each deployment. Every service has an address on it that stays when its container is
//! started again, as the address of a Service does in a cluster.

use super::engine::{Engine, said};
use shared::ServiceName;
use std::net::Ipv4Addr;

/// Where the networks are: addresses that are for tests of networks and nobody's own (RFC 2544).
const RANGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// How many addresses a network has: half for the services, half for whoever is given one by the engine.
const SIZE: u32 = 32;
/// How many networks there is room for.
const NETWORKS: u32 = (1 << 17) / SIZE;
/// The place of the first service; before it is the machine itself.
const FIRST: u32 = 2;

/// A network.
#[derive(Debug, Clone)]
pub struct Network {
    /// What the engine knows it by.
    pub name: String,
    base: u32,
}

impl Network {
    /// Makes one that overlaps with no other of the engine's.
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
        panic!("there is no room for one more network: {refused}");
    }

    /// The address of this machine, as a container sees it.
    pub fn machine(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1)
    }

    /// The address of a service.
    pub fn address(&self, service: ServiceName) -> Ipv4Addr {
        let place = ServiceName::ALL.iter().position(|s| *s == service).expect("all are there");
        Ipv4Addr::from_bits(self.base + FIRST + place as u32)
    }
}
