//! Who may subscribe, and which addresses events are sent to. Pure: no I/O.

use crate::store::SavedSubscription;
use shared::ServiceName;
use shared::bus::Subscribe;

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

/// Which services may register which addresses. Without an entry at all, every address is accepted.
#[derive(Debug, Clone, Default)]
pub struct SubscriberUrls(Vec<(String, Origin)>);

impl SubscriberUrls {
    pub fn new(entries: Vec<(String, Origin)>) -> Self {
        Self(entries)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn allows(&self, name: &str, url: &str) -> bool {
        let origin = url.parse().ok().and_then(|url| Origin::of(&url));
        self.is_empty() || self.0.iter().any(|(n, o)| n == name && Some(o) == origin.as_ref())
    }

    /// The URL at the first address that this service may register; `None` if it may register none.
    pub fn moved(&self, name: &str, url: &str) -> Option<String> {
        let (_, Origin { host, port }) = self.0.iter().find(|(n, _)| n == name)?;
        let url: http::Uri = url.parse().ok()?;
        let path = url.path_and_query()?;
        Some(if *port == 80 { format!("http://{host}{path}") } else { format!("http://{host}:{port}{path}") })
    }
}

/// What the settings say about a subscription that was saved.
#[derive(Debug, PartialEq, Eq)]
pub enum Restored {
    /// A service of ours; at another address if the settings name another one.
    Native(SavedSubscription),
    /// A service of the course, at the address in the settings.
    Plain(SavedSubscription),
    /// The settings no longer allow it.
    Refused(SavedSubscription),
}

/// Decides about a saved subscription. `course` are the configured services of the course. With `insecure`, any name is
/// allowed.
pub fn restore(
    mut saved: SavedSubscription,
    course: &[(String, String)],
    urls: &SubscriberUrls,
    insecure: bool,
) -> Restored {
    if let Some((_, url)) = course.iter().find(|(name, _)| *name == saved.name) {
        saved.url.clone_from(url);
        return Restored::Plain(saved);
    }
    if !insecure && !ServiceName::PEERS.iter().any(|peer| peer.as_str() == saved.name) {
        return Restored::Refused(saved);
    }
    if !urls.allows(&saved.name, &saved.url) {
        // With free ports every start changes the addresses. The subscriber registers itself there.
        let Some(moved) = urls.moved(&saved.name, &saved.url) else { return Restored::Refused(saved) };
        saved.url = moved;
    }
    Restored::Native(saved)
}

/// Checks the form of a registration; the error names the field and what it must be.
pub fn check(request: &Subscribe) -> Result<(), (&'static str, &'static str)> {
    let is_valid_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if request.name.is_empty() || request.name.len() > 64 || !request.name.bytes().all(is_valid_byte) {
        return Err(("name", "must be 1 to 64 characters out of a-z, 0-9 and '-'"));
    }
    let origin = request.url.parse().ok().and_then(|url| Origin::of(&url));
    if origin.is_none() || request.url.len() > 2_048 {
        return Err(("url", "must be an http URL of at most 2,048 characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::Sequence;

    fn urls<const N: usize>(entries: [(&str, &str); N]) -> SubscriberUrls {
        let entry = |(name, url): (&str, &str)| (name.to_owned(), Origin::of(&url.parse().unwrap()).unwrap());
        SubscriberUrls::new(entries.map(entry).into())
    }

    fn saved(name: &str, url: &str) -> SavedSubscription {
        SavedSubscription {
            name: name.to_owned(),
            url: url.to_owned(),
            cursor: Sequence::new(7),
            batch: true,
        }
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
    fn a_saved_subscription_is_kept_moved_or_dropped_as_the_settings_say() {
        let urls = urls([("posts", "http://posts:1")]);
        let course = [("mailer".to_owned(), "http://mailer/events".to_owned())];
        let kept = saved("posts", "http://posts:1/events");
        assert_eq!(restore(kept.clone(), &course, &urls, false), Restored::Native(kept.clone()));
        let elsewhere = saved("posts", "http://posts:2/events");
        assert_eq!(restore(elsewhere, &course, &urls, false), Restored::Native(kept), "its cursor stays");

        let mailer = saved("mailer", "http://old/events");
        let moved = saved("mailer", "http://mailer/events");
        assert_eq!(restore(mailer, &course, &urls, false), Restored::Plain(moved));

        let unlisted = saved("query", "http://query/events");
        assert_eq!(restore(unlisted.clone(), &course, &urls, false), Restored::Refused(unlisted));
        let stranger = saved("stranger", "http://stranger/events");
        let any = SubscriberUrls::default();
        assert_eq!(restore(stranger.clone(), &[], &any, false), Restored::Refused(stranger.clone()));
        assert_eq!(restore(stranger.clone(), &[], &any, true), Restored::Native(stranger), "insecure");
    }
}
