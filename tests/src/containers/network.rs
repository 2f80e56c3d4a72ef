//! A separate network for each deployment. Every service keeps its address on it when its container is started again, as
//! a Service does in a cluster.

use super::engine::{Engine, said};
use crate::{LIMIT, eventually};
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

/// The kernel's table of the IPv6 addresses of this machine.
const ADDRESSES: &str = "/proc/net/if_inet6";
/// The flag of an address that the kernel has not yet taken into use (`IFA_F_TENTATIVE`).
const TENTATIVE: u32 = 0x40;

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

/// Waits until all addresses of this machine are in use. A container that starts brings an interface, whose address the
/// kernel takes into use a second or two later; at that moment Chromium gives up the requests under way.
pub async fn until_settled() {
    eventually(LIMIT, "the addresses of this machine are in use", async || {
        // A machine without IPv6 has no such file.
        let table = std::fs::read_to_string(ADDRESSES).unwrap_or_default();
        let tentative: Vec<_> = table.lines().filter(|line| is_tentative(line)).collect();
        if tentative.is_empty() { Ok(()) } else { Err(tentative.join("\n")) }
    })
    .await;
}

/// Whether a line of the table is about an address that is not in use yet. The flags are its fifth column.
fn is_tentative(line: &str) -> bool {
    let flags = line.split_whitespace().nth(4).and_then(|flags| u32::from_str_radix(flags, 16).ok());
    flags.is_some_and(|flags| flags & TENTATIVE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_in_use_yet_is_known_by_its_flags() {
        assert!(is_tentative("fe8000000000000050a9fafffefe0b58 0c 40 20 c0    veth1"));
        assert!(!is_tentative("fe8000000000000050a9fafffefe0b58 0c 40 20 80    veth1"));
    }
}
