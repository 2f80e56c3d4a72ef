//! Who may subscribe. Pure: no I/O.

use crate::addresses::{Origin, SubscriberUrls};
use crate::store::SavedSubscription;
use shared::ServiceName;
use shared::bus::{Subscribe, is_instance_name, subscription_parts};

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

/// What the settings say about subscriptions.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The services of the course that are configured, and where they are.
    course: Vec<(String, String)>,
    urls: SubscriberUrls,
    /// Whether any name is allowed.
    insecure: bool,
}

impl Rules {
    pub fn new(course: Vec<(String, String)>, urls: SubscriberUrls, insecure: bool) -> Self {
        Self { course, urls, insecure }
    }

    pub fn course(&self) -> &[(String, String)] {
        &self.course
    }

    /// Decides about a saved subscription.
    pub fn restore(&self, saved: SavedSubscription) -> Restored {
        restore(saved, &self.course, &self.urls, self.insecure)
    }
}

fn restore(
    mut saved: SavedSubscription,
    course: &[(String, String)],
    urls: &SubscriberUrls,
    insecure: bool,
) -> Restored {
    if let Some((_, url)) = course.iter().find(|(name, _)| *name == saved.name) {
        saved.url.clone_from(url);
        return Restored::Plain(saved);
    }
    let (service, _) = subscription_parts(&saved.name);
    if !insecure && !ServiceName::PEERS.iter().any(|peer| peer.as_str() == service) {
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
    let (service, instance) = subscription_parts(&request.name);
    if service.is_empty() || service.len() > 64 || !service.bytes().all(is_valid_byte) {
        return Err(("name", "must begin with a service: 1 to 64 characters out of a-z, 0-9 and '-'"));
    }
    if !instance.is_none_or(is_instance_name) {
        return Err((
            "name",
            "must end with an instance after the '/': 1 to 63 characters out of a-z, 0-9 and '-'",
        ));
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
    use crate::addresses::tests::urls;
    use shared::{Sequence, Timestamp};

    fn saved(name: &str, url: &str) -> SavedSubscription {
        let at = Timestamp::from_unix_ms(1);
        SavedSubscription::new(name.to_owned(), url.to_owned(), Sequence::new(7), true, at)
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

        let instance = saved("posts/a", "http://posts:1/events");
        assert_eq!(restore(instance.clone(), &course, &urls, false), Restored::Native(instance));
        let elsewhere = saved("posts/a", "http://posts:2/events");
        let refused = Restored::Refused(elsewhere.clone());
        assert_eq!(restore(elsewhere, &course, &urls, false), refused, "it may be another instance's");
    }
}
