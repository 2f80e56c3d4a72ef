//! Which addresses events may be sent to. Pure: no I/O.

use shared::bus::subscription_parts;

/// The host and port of an http URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// `None` where this is no http URL, or one with a user name: `http://posts:4000@elsewhere` goes elsewhere.
    pub fn of(url: &http::Uri) -> Option<Self> {
        let authority = url.authority().filter(|_| url.scheme_str() == Some("http"))?;
        let is_valid = !authority.as_str().contains('@') && !authority.host().is_empty();
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            None => 80,
        };
        is_valid.then(|| Self { host: authority.host().to_ascii_lowercase(), port })
    }
}

/// An address that a service may register: one origin, or with `*.` before the host the origins with exactly one more
/// label, as the pods behind a headless Service have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    Exact(Origin),
    /// The host after the `*`, so with a leading dot, and the port.
    AnyLabel(Origin),
}

impl AllowedOrigin {
    /// `None` where this is no http URL, or has a `*` elsewhere than as its first label.
    pub fn of(url: &http::Uri) -> Option<Self> {
        let Origin { host, port } = Origin::of(url)?;
        let suffix = host.strip_prefix('*').filter(|suffix| suffix.len() > 1 && suffix.starts_with('.'));
        let (is_exact, host) = (suffix.is_none(), suffix.unwrap_or(&host).to_owned());
        let origin = Origin { host, port };
        let allowed = if is_exact { Self::Exact(origin) } else { Self::AnyLabel(origin) };
        (!allowed.origin().host.contains('*')).then_some(allowed)
    }

    fn origin(&self) -> &Origin {
        let (Self::Exact(origin) | Self::AnyLabel(origin)) = self;
        origin
    }

    fn allows(&self, origin: &Origin) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::AnyLabel(suffix) => {
                let label = origin.host.strip_suffix(&suffix.host);
                let is_label = |label: &str| {
                    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                };
                suffix.port == origin.port && label.is_some_and(is_label)
            }
        }
    }
}

/// Which services may register which addresses, with a service as often as it has addresses. Without an entry at all,
/// every address is accepted.
#[derive(Debug, Clone, Default)]
pub struct SubscriberUrls(Vec<(String, AllowedOrigin)>);

impl SubscriberUrls {
    pub fn new(entries: Vec<(String, AllowedOrigin)>) -> Self {
        Self(entries)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a subscription of this name may have this address: its service decides.
    pub fn allows(&self, name: &str, url: &str) -> bool {
        if self.is_empty() {
            return true;
        }
        let (service, _) = subscription_parts(name);
        let origin = url.parse().ok().and_then(|url| Origin::of(&url));
        origin.is_some_and(|origin| self.0.iter().any(|(n, allowed)| n == service && allowed.allows(&origin)))
    }

    /// The URL at the first address that this service may register; `None` if it may register none. Nor for an instance:
    /// the address could be another one's.
    pub fn moved(&self, name: &str, url: &str) -> Option<String> {
        let origin = self.0.iter().find_map(|(n, allowed)| match allowed {
            AllowedOrigin::Exact(origin) if n == name => Some(origin),
            _ => None,
        });
        let Origin { host, port } = origin?;
        let url: http::Uri = url.parse().ok()?;
        let path = url.path_and_query()?;
        Some(if *port == 80 { format!("http://{host}{path}") } else { format!("http://{host}:{port}{path}") })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn urls<const N: usize>(entries: [(&str, &str); N]) -> SubscriberUrls {
        let entry =
            |(name, url): (&str, &str)| (name.to_owned(), AllowedOrigin::of(&url.parse().unwrap()).unwrap());
        SubscriberUrls::new(entries.map(entry).into())
    }

    #[test]
    fn an_address_is_allowed_by_its_host_and_port_alone() {
        let urls =
            urls([("posts", "http://Posts-srv:4000"), ("query", "http://q/"), ("query", "http://[::1]:81")]);
        for (name, url) in [
            ("posts", "http://posts-srv:4000/events"),
            ("posts", "http://POSTS-SRV:4000/other?x=y"),
            ("query", "http://q/events"),
            ("query", "http://q:80/events"),
            ("query", "http://[::1]:81/events"),
        ] {
            assert!(urls.allows(name, url), "{name} {url}");
            assert!(!urls.allows("comments", url), "each service has its own addresses");
        }
        for url in [
            "http://posts-srv/events",
            "http://posts-srv:40001/events",
            "http://posts-srv:4000.elsewhere/events",
            "http://posts-srv:4000@elsewhere/events",
            "http://elsewhere/posts-srv:4000",
            "https://posts-srv:4000/events",
            "posts-srv:4000",
            "",
        ] {
            assert!(!urls.allows("posts", url), "{url}");
        }
        assert!(SubscriberUrls::default().allows("posts", "http://anywhere/events"));
    }

    #[test]
    fn one_label_stands_for_the_star() {
        let urls = urls([("query", "http://*.Query-headless:4002"), ("query", "http://q")]);
        for url in
            ["http://query-0.query-headless:4002/events", "http://A.query-headless:4002", "http://q/events"]
        {
            assert!(urls.allows("query/a", url), "{url}");
            assert!(urls.allows("query", url), "{url}");
            assert!(!urls.allows("posts/query", url), "the service decides, not the instance");
        }
        for url in [
            "http://query-headless:4002/events",
            "http://.query-headless:4002/events",
            "http://a.b.query-headless:4002/events",
            "http://a.query-headless.b:4002/events",
            "http://a.query-headless:4003/events",
            "http://a-query-headless:4002/events",
            "http://*.query-headless:4002/events",
            "http://a%2eb.query-headless:4002/events",
        ] {
            assert!(!urls.allows("query/a", url), "{url}");
        }
        for bad in ["http://*", "http://*.", "http://*a.b", "http://a.*.b", "http://*.*.b", "http://**.b"] {
            assert_eq!(AllowedOrigin::of(&bad.parse().unwrap()), None, "{bad}");
        }
    }

    #[test]
    fn a_star_is_no_address_to_move_to() {
        let urls = urls([("query", "http://*.q"), ("query", "http://q:2")]);
        assert_eq!(urls.moved("query", "http://q:1/events").unwrap(), "http://q:2/events");
    }
}
