//! Free ports.

use std::net::TcpListener;
use std::ops::Range;

/// Below the range from which the system takes ports for outgoing connections: while nobody listens on one of these,
/// no connection takes it by chance.
const PORTS: Range<u16> = 16_000..32_000;

/// Ports of this machine that are free, each another one.
pub fn free(count: usize) -> Vec<u16> {
    // Held until all are found, so that no port is found twice.
    let mut held = Vec::new();
    for _ in PORTS {
        if held.len() == count {
            break;
        }
        held.extend(TcpListener::bind(("127.0.0.1", fastrand::u16(PORTS))));
    }
    assert_eq!(held.len(), count, "too few free ports in {PORTS:?}");
    held.iter().map(|listener| listener.local_addr().expect("its address").port()).collect()
}
