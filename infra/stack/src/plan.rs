//! The processes, and their addresses.

use crate::process_name::ProcessName;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// The port of the frontend's probes and metrics, which its public port must not show. It is not the frontend's default,
/// so that `cargo leptos watch` can run another frontend beside the stack.
pub const FRONTEND_ADMIN_PORT: u16 = 3002;
/// Below the range of ports for outgoing connections, so that the system does not give a service's port away while the
/// service is down.
const FREE_PORTS: std::ops::Range<u16> = 16_000..32_000;

/// How far apart the course's ports of two replicas are.
const REPLICA_PORTS: u16 = 100;

/// The ports of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ports {
    /// The course's: 3000 for the site, 4000 to 4005 for the services
    Course,
    /// Free ones, so that several stacks can run side by side; `stack.json` names them
    Free,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(
        "{name} cannot listen on {addr}: {source}; stop the program that listens there, or use --ports free"
    )]
    Taken { name: ProcessName, addr: SocketAddr, source: io::Error },
    #[error("no free port was found on {0}")]
    NoneFree(IpAddr),
}

/// Where a service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    pub listen: SocketAddr,
    /// Probes and metrics: the same address, except for the frontend.
    pub admin: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(BTreeMap<ProcessName, Addresses>);

/// The service that runs once: it keeps nothing, and a second one would need something in front of both.
const ONCE: ServiceName = ServiceName::Frontend;

/// Every process.
fn names(replicas: u8) -> impl Iterator<Item = ProcessName> {
    ServiceName::ALL
        .into_iter()
        .flat_map(move |service| ProcessName::all_of(service, if service == ONCE { 1 } else { replicas }))
}

impl Plan {
    /// The course's ports; a second replica has the port 100 above that of the first. The site listens on `host` and, if given, on `port`; everything else listens on this machine
    /// only.
    pub fn course(host: IpAddr, port: Option<u16>, replicas: u8) -> Self {
        let of = |name: ProcessName| {
            let above = REPLICA_PORTS * u16::from(name.number() - 1);
            let local = SocketAddr::new(LOCAL, name.service.default_port() + above);
            match name.service {
                ServiceName::Frontend => Addresses {
                    listen: SocketAddr::new(host, port.unwrap_or(local.port())),
                    admin: SocketAddr::new(LOCAL, FRONTEND_ADMIN_PORT),
                },
                _ => Addresses { listen: local, admin: local },
            }
        };
        Self(names(replicas).map(|name| (name, of(name))).collect())
    }

    /// Ports that are free now. The search begins at a random port, so that stacks that start at the same moment do not
    /// find the same ones.
    pub fn free(host: IpAddr, port: Option<u16>, replicas: u8, random: u128) -> Result<Self, PlanError> {
        let count = FREE_PORTS.len() as u128;
        let first = (random % count) as u16;
        let mut candidates = FREE_PORTS.map(|p| (p - FREE_PORTS.start + first) % FREE_PORTS.len() as u16);
        // All stay open until the last is found, so that no port is found twice.
        let mut held = Vec::new();
        let mut take = |host: IpAddr| {
            candidates
                .by_ref()
                .find_map(|at| {
                    let addr = SocketAddr::new(host, FREE_PORTS.start + at);
                    TcpListener::bind(addr).ok().map(|listener| held.push(listener)).map(|()| addr)
                })
                .ok_or(PlanError::NoneFree(host))
        };
        let mut found = BTreeMap::new();
        for name in names(replicas) {
            let addresses = match (name.service, port) {
                (ServiceName::Frontend, Some(port)) => {
                    Addresses { listen: SocketAddr::new(host, port), admin: take(LOCAL)? }
                }
                (ServiceName::Frontend, None) => Addresses { listen: take(host)?, admin: take(LOCAL)? },
                _ => {
                    let listen = take(LOCAL)?;
                    Addresses { listen, admin: listen }
                }
            };
            found.insert(name, addresses);
        }
        Ok(Self(found))
    }

    /// Every process, the replicas of a service one after the other.
    pub fn names(&self) -> impl Iterator<Item = ProcessName> {
        self.0.keys().copied()
    }

    pub fn addresses(&self, name: ProcessName) -> Addresses {
        let fallback = SocketAddr::new(LOCAL, name.service.default_port());
        self.0.get(&name).copied().unwrap_or(Addresses { listen: fallback, admin: fallback })
    }

    /// The address of a process, from this machine.
    pub fn url(&self, name: ProcessName) -> String {
        url(self.addresses(name).listen)
    }

    /// The address of its probes, from this machine.
    pub fn admin_url(&self, name: ProcessName) -> String {
        url(self.addresses(name).admin)
    }

    /// The addresses of a service's replicas.
    pub fn urls(&self, service: ServiceName) -> Vec<String> {
        self.names().filter(|name| name.service == service).map(|name| self.url(name)).collect()
    }

    /// Fails if one of the addresses is in use, with one clear error instead of a service that dies again and again.
    pub fn check(&self, processes: &[ProcessName]) -> Result<(), PlanError> {
        for &name in processes {
            let of = self.addresses(name);
            for addr in [of.listen, of.admin] {
                TcpListener::bind(addr).map_err(|source| PlanError::Taken { name, addr, source })?;
            }
        }
        Ok(())
    }
}

/// For services that only this machine may reach.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The address for clients of a listener: they cannot connect to "all addresses".
fn url(listen: SocketAddr) -> String {
    let host = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => LOCAL,
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    };
    format!("http://{}", SocketAddr::new(host, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn all_addresses(plan: &Plan) -> Vec<SocketAddr> {
        plan.names().flat_map(|name| [plan.addresses(name).listen, plan.addresses(name).admin]).collect()
    }

    #[test]
    fn the_course_has_its_ports() {
        let plan = Plan::course("0.0.0.0".parse().unwrap(), None, 1);
        assert_eq!(plan.url(ServiceName::Posts.into()), "http://127.0.0.1:4000");
        assert_eq!(plan.url(ServiceName::EventBus.into()), "http://127.0.0.1:4005");
        assert_eq!(plan.url(ServiceName::Frontend.into()), "http://127.0.0.1:3000");
        assert_eq!(plan.admin_url(ServiceName::Frontend.into()), "http://127.0.0.1:3002");
        assert_eq!(plan.admin_url(ServiceName::Query.into()), plan.url(ServiceName::Query.into()));
        let open: Vec<_> = all_addresses(&plan).into_iter().filter(|a| !a.ip().is_loopback()).collect();
        assert_eq!(open, ["0.0.0.0:3000".parse().unwrap()], "only the site leaves the machine");
    }

    #[test]
    fn each_replica_has_a_port_of_its_own_and_the_site_has_one_process() {
        let plan = Plan::course(LOCAL, None, 2);
        assert_eq!(plan.urls(ServiceName::Posts), ["http://127.0.0.1:4000", "http://127.0.0.1:4100"]);
        assert_eq!(plan.urls(ServiceName::Frontend), ["http://127.0.0.1:3000"]);
        let names: Vec<_> = plan.names().map(|name| name.to_string()).collect();
        assert_eq!(names.len(), 11);
        for name in ["event-bus/2", "query/2", "frontend"] {
            assert!(names.contains(&name.to_owned()), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = Plan::course(LOCAL, Some(taken.local_addr().unwrap().port()), 1);
        let error = plan.check(&[ServiceName::Frontend.into()]).unwrap_err().to_string();
        assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
        assert!(error.starts_with("frontend cannot listen on"), "{error}");
    }

    #[test]
    fn addresses_are_written_as_one_connects_to_them() {
        assert_eq!(url("[::]:80".parse().unwrap()), "http://[::1]:80");
        assert_eq!(url("192.0.2.7:80".parse().unwrap()), "http://192.0.2.7:80");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn free_ports_are_all_different_and_below_those_of_outgoing_connections(random: u128, replicas in 1_u8..=9) {
            let plan = Plan::free(LOCAL, None, replicas, random).unwrap();
            let distinct: HashSet<_> = all_addresses(&plan).into_iter().collect();
            prop_assert_eq!(distinct.len(), 5 * usize::from(replicas) + 2);
            prop_assert!(distinct.iter().all(|a| FREE_PORTS.contains(&a.port())));
        }
    }
}
