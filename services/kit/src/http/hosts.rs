//! Which hosts a server answers for.
//!
//! DNS rebinding: a foreign site points its own name at this machine's address, so that the browser takes what comes
//! from here for a part of that site. The name still stands in `Host`, and gives it away.

use http::Request;
use http::header::HOST;
use http::uri::Authority;
use reqwest::Url;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// A host name in its normal form: lower case, without a port and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

/// Why a text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a host name without scheme and port, such as blog.example")]
pub struct InvalidHost;

impl FromStr for HostName {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let authority: Authority = text.parse().map_err(|_| InvalidHost)?;
        if authority.as_str().contains('@') || authority.host() != text {
            return Err(InvalidHost);
        }
        Self::of(&authority).ok_or(InvalidHost)
    }
}

impl HostName {
    fn of(authority: &Authority) -> Option<Self> {
        let host = authority.host();
        let host = host.strip_suffix('.').unwrap_or(host);
        (!host.is_empty()).then(|| Self(host.to_ascii_lowercase()))
    }

    /// Whether no foreign site can have this name: addresses, names without a dot, and those under domains that the
    /// public DNS does not have, such as the names of services in a cluster.
    fn is_local(&self) -> bool {
        const NOT_PUBLIC: [&str; 4] = [".localhost", ".local", ".internal", ".svc"];
        let bare = self.0.trim_start_matches('[').trim_end_matches(']');
        !self.0.contains('.')
            || bare.parse::<IpAddr>().is_ok()
            || NOT_PUBLIC.iter().any(|domain| self.0.ends_with(domain))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public address of the site: `https://blog.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteUrl {
    https: bool,
    host: HostName,
}

/// Why a text is not the address of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write http:// or https:// and a host, without a path, such as https://blog.example")]
pub struct InvalidSiteUrl;

impl SiteUrl {
    /// The host, without the port.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Whether browsers reach the site over https.
    pub fn is_https(&self) -> bool {
        self.https
    }
}

impl FromStr for SiteUrl {
    type Err = InvalidSiteUrl;

    fn from_str(text: &str) -> Result<Self, InvalidSiteUrl> {
        let url = Url::parse(text).map_err(|_| InvalidSiteUrl)?;
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let https = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(InvalidSiteUrl),
        };
        let host =
            url.host_str().and_then(|host| host.parse().ok()).filter(|_| plain && url.username().is_empty());
        Ok(Self { https, host: host.ok_or(InvalidSiteUrl)? })
    }
}

/// The hosts that a server answers for. The default is any.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Option<Arc<BTreeSet<HostName>>>);

impl AllowedHosts {
    /// These names, whatever the port, and every name that no foreign site can have. Without any name: all hosts.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a HostName>) -> Self {
        let names: BTreeSet<HostName> = names.into_iter().cloned().collect();
        Self((!names.is_empty()).then(|| Arc::new(names)))
    }

    /// The same hosts and that of this address, unless all are allowed anyway.
    #[must_use]
    pub fn and(self, url: Option<&str>) -> Self {
        let host = url.and_then(|url| Url::parse(url).ok()?.host_str()?.parse().ok());
        match (self.0, host) {
            (Some(names), Some(host)) => Self(Some(Arc::new(names.iter().cloned().chain([host]).collect()))),
            (names, _) => Self(names),
        }
    }

    /// Whether the request is for one of them. It may name its host twice, in the address and in the header; a
    /// request without any host is refused as well.
    pub(super) fn allows<B>(&self, request: &Request<B>) -> bool {
        let Some(names) = &self.0 else { return true };
        let mut values = request.headers().get_all(HOST).iter();
        let header = values.next().map(|value| Authority::try_from(value.as_bytes()).ok());
        let known = |authority: &Authority| {
            HostName::of(authority).is_some_and(|name| name.is_local() || names.contains(&name))
        };
        let address = request.uri().authority();
        values.next().is_none()
            && (header.is_some() || address.is_some())
            && header.is_none_or(|authority| authority.as_ref().is_some_and(known))
            && address.is_none_or(known)
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(names) = &self.0 else { return f.write_str("any") };
        let names: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> AllowedHosts {
        let names: Vec<HostName> = names.iter().map(|name| name.parse().unwrap()).collect();
        AllowedHosts::new(&names)
    }

    fn allows(hosts: &AllowedHosts, uri: &str, headers: &[&[u8]]) -> bool {
        let mut request = Request::builder().uri(uri);
        for value in headers {
            request = request.header(HOST, *value);
        }
        hosts.allows(&request.body(()).unwrap())
    }

    #[test]
    fn only_configured_names_and_those_that_no_site_can_have_are_allowed() {
        let ours = hosts(&["posts.com", "Blog.Example"]);
        for good in [
            "posts.com",
            "POSTS.com:3000",
            "posts.com.",
            "blog.example",
            "localhost:3000",
            "blog.localhost",
            "query-srv.mini-blog.svc.cluster.local:4002",
            "query-srv.mini-blog.svc",
            "127.0.0.1:3000",
            "[::1]:3000",
            "posts-clusterip-srv:4000",
        ] {
            assert!(allows(&ours, "/", &[good.as_bytes()]), "{good}");
        }
        for bad in
            ["evil.example", "posts.com.evil.example", "evil.example:3000", "127.0.0.1.nip.io", "a b", ""]
        {
            assert!(!allows(&ours, "/", &[bad.as_bytes()]), "{bad}");
            assert!(allows(&AllowedHosts::default(), "/", &[bad.as_bytes()]), "{bad}");
        }
        assert!(!allows(&ours, "/", &[]), "no host at all");
        assert!(!allows(&ours, "/", &[b"posts.com", b"evil.example"]));
        assert!(!allows(&ours, "/", &[b"p\xf6sts.com"]));
    }

    #[test]
    fn the_host_of_the_address_counts_as_well() {
        let ours = hosts(&["posts.com"]);
        assert!(allows(&ours, "http://posts.com/", &[b"posts.com"]));
        assert!(!allows(&ours, "http://evil.example/", &[b"posts.com"]));
        assert!(!allows(&ours, "http://posts.com/", &[b"evil.example"]));
    }

    #[test]
    fn a_site_is_a_scheme_and_a_host() {
        let site: SiteUrl = "https://Blog.Example:8443/".parse().unwrap();
        assert!(site.is_https());
        assert_eq!(site.host().to_string(), "blog.example");
        for bad in [
            "",
            "blog.example",
            "https://a.example/blog",
            "ftp://a.example",
            "https://u@a.example",
            "https://a?b",
        ] {
            assert_eq!(bad.parse::<SiteUrl>(), Err(InvalidSiteUrl), "{bad}");
        }
        for bad in ["", "a:80", "http://a", "u@a", "a/b"] {
            assert_eq!(bad.parse::<HostName>(), Err(InvalidHost), "{bad}");
        }
    }
}
