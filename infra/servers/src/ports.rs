//! Free ports of the loopback interface.

use crate::Error;
use std::io;
use std::net::TcpListener;
use std::ops::Range;

/// Below the range from which the system takes ports for outgoing connections.
const PORTS: Range<u16> = 16_000..32_000;
const ATTEMPTS: usize = 1_000;

/// Ports on which nobody listens now, each another one.
pub(crate) fn free(count: usize) -> Result<Vec<u16>, Error> {
    // Held until all are found, so that no port is found twice.
    let mut held = Vec::new();
    for _ in 0..ATTEMPTS {
        if held.len() == count {
            break;
        }
        held.extend(TcpListener::bind(("127.0.0.1", fastrand::u16(PORTS))));
    }
    let ports: Vec<_> = held.iter().filter_map(|listener| Some(listener.local_addr().ok()?.port())).collect();
    if ports.len() == count {
        return Ok(ports);
    }
    let source = io::Error::new(io::ErrorKind::AddrInUse, "no free port was found");
    Err(Error::Io { path: format!("127.0.0.1, ports {PORTS:?}").into(), source })
}
