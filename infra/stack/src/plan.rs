//! The addresses of the services.

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
        "{service} cannot listen on {addr}: {source}; stop the program that listens there, or use --ports free"
    )]
    Taken { service: ServiceName, addr: SocketAddr, source: io::Error },
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
pub struct Plan(BTreeMap<ServiceName, Addresses>);

impl Plan {
    /// The course's ports. The site listens on `host` and, if given, on `port`; everything else listens on this machine
    /// only.
    pub fn course(host: IpAddr, port: Option<u16>) -> Self {
        let of = |service: ServiceName| {
            let local = SocketAddr::new(LOCAL, service.default_port());
            match service {
                ServiceName::Frontend => Addresses {
                    listen: SocketAddr::new(host, port.unwrap_or(local.port())),
                    admin: SocketAddr::new(LOCAL, FRONTEND_ADMIN_PORT),
                },
                _ => Addresses { listen: local, admin: local },
            }
        };
        Self(ServiceName::ALL.into_iter().map(|s| (s, of(s))).collect())
    }

    /// Ports that are free now. The search begins at a random port, so that stacks that start at the same moment do not
    /// find the same ones.
    pub fn free(host: IpAddr, port: Option<u16>, random: u128) -> Result<Self, PlanError> {
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
        for service in ServiceName::ALL {
            let addresses = match (service, port) {
                (ServiceName::Frontend, Some(port)) => {
                    Addresses { listen: SocketAddr::new(host, port), admin: take(LOCAL)? }
                }
                (ServiceName::Frontend, None) => Addresses { listen: take(host)?, admin: take(LOCAL)? },
                _ => {
                    let listen = take(LOCAL)?;
                    Addresses { listen, admin: listen }
                }
            };
            found.insert(service, addresses);
        }
        Ok(Self(found))
    }

    pub fn addresses(&self, service: ServiceName) -> Addresses {
        let fallback = SocketAddr::new(LOCAL, service.default_port());
        self.0.get(&service).copied().unwrap_or(Addresses { listen: fallback, admin: fallback })
    }

    /// The address of the service, from this machine.
    pub fn url(&self, service: ServiceName) -> String {
        url(self.addresses(service).listen)
    }

    /// The address of its probes, from this machine.
    pub fn admin_url(&self, service: ServiceName) -> String {
        url(self.addresses(service).admin)
    }

    /// Fails if one of the addresses is in use, with one clear error instead of a service that dies again and again.
    pub fn check(&self, services: &[ServiceName]) -> Result<(), PlanError> {
        for &service in services {
            let of = self.addresses(service);
            for addr in [of.listen, of.admin] {
                TcpListener::bind(addr).map_err(|source| PlanError::Taken { service, addr, source })?;
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
        ServiceName::ALL
            .into_iter()
            .flat_map(|s| [plan.addresses(s).listen, plan.addresses(s).admin])
            .collect()
    }

    #[test]
    fn the_course_has_its_ports() {
        let plan = Plan::course("0.0.0.0".parse().unwrap(), None);
        assert_eq!(plan.url(ServiceName::Posts), "http://127.0.0.1:4000");
        assert_eq!(plan.url(ServiceName::EventBus), "http://127.0.0.1:4005");
        assert_eq!(plan.url(ServiceName::Frontend), "http://127.0.0.1:3000");
        assert_eq!(plan.admin_url(ServiceName::Frontend), "http://127.0.0.1:3002");
        assert_eq!(plan.admin_url(ServiceName::Query), plan.url(ServiceName::Query));
        let open: Vec<_> = all_addresses(&plan).into_iter().filter(|a| !a.ip().is_loopback()).collect();
        assert_eq!(open, ["0.0.0.0:3000".parse().unwrap()], "only the site leaves the machine");
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = Plan::course(LOCAL, Some(taken.local_addr().unwrap().port()));
        let error = plan.check(&[ServiceName::Frontend]).unwrap_err().to_string();
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
        fn free_ports_are_all_different_and_below_those_of_outgoing_connections(random: u128) {
            let plan = Plan::free(LOCAL, None, random).unwrap();
            let distinct: HashSet<_> = all_addresses(&plan).into_iter().collect();
            prop_assert_eq!(distinct.len(), 7);
            prop_assert!(distinct.iter().all(|a| FREE_PORTS.contains(&a.port())));
        }
    }
}
