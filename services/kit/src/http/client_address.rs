//! Who sent a request: the address of the connection, or the one that trusted proxies in front of it report.

use axum::extract::ConnectInfo;
use http::header::{HeaderName, HeaderValue};
use http::{Extensions, HeaderMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::ParseIntError;
use std::str::FromStr;

/// The header in which each proxy adds the address of its own client, on the right.
///
/// `Forwarded` (RFC 7239) is not read: few proxies write it, and where both were read, a client could send the one
/// that the proxy does not write.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many proxies in front of this server add to [`FORWARDED_FOR`]. The default is none: a client may write
/// anything there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrustedProxies(u8);

impl FromStr for TrustedProxies {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl From<u8> for TrustedProxies {
    fn from(number: u8) -> Self {
        Self(number)
    }
}

impl TrustedProxies {
    /// Whether connections come from proxies, so that the address of a connection is not that of a client.
    pub(crate) fn any(self) -> bool {
        self.0 > 0
    }

    /// The client's address: that of the connection without proxies; with N of them the N-th from the right in the
    /// header, or the leftmost of a shorter one. What is not an address stops the search: its writer cannot
    /// speak for those further left.
    pub(super) fn client(self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let entries = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(',').map(address));
        let trusted = entries.take(self.0.into()).map_while(|entry| entry);
        trusted.last().unwrap_or(peer).to_canonical()
    }
}

/// An entry of the header: an address, with a port in the form of some proxies.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    entry.parse().ok().or_else(with_port)
}

/// The address of a request's client, in its extensions. Unknown where a request did not come over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

/// Whom a limit counts as one client: an IPv4 address, or the /64 network of an IPv6 address, since a single host
/// usually has all addresses of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        const NETWORK: u128 = !0 << 64;
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl ClientAddress {
    /// Whom limits count this client as.
    pub fn key(self) -> Option<ClientKey> {
        self.0.map(ClientKey::from)
    }

    /// The address that the connection and its headers show.
    pub(super) fn of(extensions: &Extensions, headers: &HeaderMap, proxies: TrustedProxies) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(peer.map(|ConnectInfo(peer)| proxies.client(peer.ip(), headers)))
    }

    /// Reports this client to the next server, which trusts one proxy: replaces whatever a client sent.
    pub fn report(self, headers: &mut HeaderMap) {
        headers.remove("forwarded");
        headers.remove(FORWARDED_FOR);
        if let Some(value) = self.0.and_then(|address| HeaderValue::try_from(address.to_string()).ok()) {
            headers.insert(FORWARDED_FOR, value);
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: u8, headers: &[&str]) -> String {
        let headers = headers.iter().map(|value| (FORWARDED_FOR, value.parse().unwrap())).collect();
        TrustedProxies(proxies).client("10.0.0.9".parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let forged = "203.0.113.66, 198.51.100.2, 192.0.2.1";
        assert_eq!(client(0, &[forged]), "10.0.0.9");
        assert_eq!(client(1, &[forged]), "192.0.2.1");
        assert_eq!(client(2, &[forged]), "198.51.100.2");
        assert_eq!(
            client(2, &["203.0.113.66", "198.51.100.2,192.0.2.1"]),
            "198.51.100.2",
            "in several headers"
        );
        assert_eq!(client(1, &[]), "10.0.0.9", "a request that passed no proxy");
        assert_eq!(client(5, &["198.51.100.2, 192.0.2.1"]), "198.51.100.2");
    }

    #[test]
    fn what_is_not_an_address_stops_the_search() {
        assert_eq!(client(1, &["unknown"]), "10.0.0.9");
        assert_eq!(client(3, &["198.51.100.2, <script>, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(client(1, &["192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(client(1, &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client(1, &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client(1, &["::ffff:192.0.2.1"]), "192.0.2.1");
    }

    #[test]
    fn a_host_is_one_client_whichever_of_its_addresses_it_uses() {
        let key = |text: &str| ClientKey::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn the_next_server_gets_this_address_alone() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, "203.0.113.66".parse().unwrap());
        headers.append("forwarded", "for=203.0.113.66".parse().unwrap());
        ClientAddress(Some("192.0.2.1".parse().unwrap())).report(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[FORWARDED_FOR], "192.0.2.1");
        ClientAddress(None).report(&mut headers);
        assert!(headers.is_empty(), "a client's own header never goes on");
    }
}
