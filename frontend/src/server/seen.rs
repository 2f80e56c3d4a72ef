//! What a reader has seen, where query has several replicas that are not equally far.
//!
//! A cookie holds the place of the log up to which the answers were up to date that this reader has got. Query is asked for
//! nothing older. Only a replica that is one of several says up to which place its answers are up to date, so where there
//! is one, nobody gets this cookie. It is no part of what a service sees, and a reader who has no other one is still
//! anonymous.

use super::headers::HttpsOnly;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use kit::http::{ApiError, ApiResult};
use shared::views::{MIN_SEQUENCE_HEADER, SEQUENCE_HEADER};
use shared::{ProblemKind, Sequence};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Up to which event an answer is up to date.
const SEQUENCE: HeaderName = HeaderName::from_static(SEQUENCE_HEADER);
/// Up to which event an answer has to be.
pub(super) const MIN_SEQUENCE: HeaderName = HeaderName::from_static(MIN_SEQUENCE_HEADER);

/// How long a place stays that no replica has reached: in seconds. The log may have been replaced by an older one.
const EXPIRES_IN: u32 = 30;
/// Follows the place in a cookie that expires, so that it is not made to last by each refusal.
const EXPIRES: char = '!';

/// On https no other host of the same domain can set it.
const fn cookie_name(https: HttpsOnly) -> &'static str {
    if https.0 { "__Host-seen" } else { "seen" }
}

/// Up to which event query says that this answer is up to date.
pub(super) fn sequence_of(headers: &HeaderMap) -> Option<Sequence> {
    headers.get(SEQUENCE)?.to_str().ok()?.parse().ok()
}

/// Whether query answers that this replica has not read the log up to what the reader has seen.
pub(super) fn is_behind(status: StatusCode, headers: &HeaderMap, minimum: Sequence) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE && sequence_of(headers).is_some_and(|is| is < minimum)
}

/// Up to which event the answer of query to a forwarded request has to be up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Minimum {
    None,
    /// As the cookie says.
    Seen(Sequence),
    /// As the request says, which names no earlier one than the cookie.
    Named(Sequence),
}

/// What one request of a reader is about to show them. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Seen(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    https: HttpsOnly,
    cookie: Cookie,
    highest: AtomicI64,
    was_answered: AtomicBool,
    was_refused: AtomicBool,
}

/// What the browser has.
#[derive(Debug, Clone, Copy, Default)]
struct Cookie {
    place: Sequence,
    expires: bool,
}

impl Seen {
    /// Takes the cookie out of a request.
    pub(super) fn take(headers: &mut HeaderMap, https: HttpsOnly) -> Self {
        let cookie = take_cookie(headers, cookie_name(https)).unwrap_or_default();
        let highest = AtomicI64::new(cookie.place.get());
        let (was_answered, was_refused) = Default::default();
        Self(Arc::new(Inner { https, cookie, highest, was_answered, was_refused }))
    }

    /// Up to which event the next answer has to be up to date; nothing for a reader who has seen nothing.
    pub(super) fn minimum(&self) -> Option<Sequence> {
        let highest = Sequence::new(self.0.highest.load(Ordering::Relaxed));
        (highest > Sequence::START).then_some(highest)
    }

    /// Lets a request to query ask for nothing older than what its reader has seen, or than it names itself.
    pub(super) fn raise_minimum(&self, headers: &mut HeaderMap) -> ApiResult<Minimum> {
        let invalid = || ApiError::new(ProblemKind::BadRequest).detail(format!("invalid {MIN_SEQUENCE}"));
        let named =
            headers.get(MIN_SEQUENCE).map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
        let named = named.map(|named| named.ok_or_else(invalid)).transpose()?;
        let Some(seen) = self.minimum().filter(|seen| Some(*seen) > named) else {
            return Ok(named.map_or(Minimum::None, Minimum::Named));
        };
        headers.insert(MIN_SEQUENCE, seen.get().into());
        Ok(Minimum::Seen(seen))
    }

    /// The reader gets an answer that is up to date up to this event.
    pub(super) fn saw(&self, sequence: Option<Sequence>) {
        if let Some(sequence) = sequence {
            self.0.highest.fetch_max(sequence.get(), Ordering::Relaxed);
            self.0.was_answered.store(true, Ordering::Relaxed);
        }
    }

    /// A replica has not reached what the reader has seen, after a wait. They are told so; and unless another replica
    /// answers soon, the place is forgotten: nobody must wait for ever for what was lost.
    pub(super) fn refused(&self) {
        self.0.was_refused.store(true, Ordering::Relaxed);
    }

    /// Sets the cookie, if it is not what the browser has.
    pub(super) fn remember(&self, headers: &mut HeaderMap) {
        let Inner { https, cookie, .. } = *self.0;
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let (was_answered, was_refused) = (is_set(&self.0.was_answered), is_set(&self.0.was_refused));
        let expiry = match self.minimum() {
            Some(place) if was_answered && (cookie.expires || place > cookie.place) => String::new(),
            Some(_) if was_refused && !was_answered && !cookie.expires => {
                format!("{EXPIRES}; Max-Age={EXPIRES_IN}")
            }
            _ => return,
        };
        let place = self.0.highest.load(Ordering::Relaxed);
        let (name, secure) = (cookie_name(https), if https.0 { "; Secure" } else { "" });
        let set = format!("{name}={place}{expiry}; Path=/; HttpOnly; SameSite=Lax{secure}");
        if let Ok(value) = HeaderValue::from_str(&set) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// A middleware of pages and forms: the handlers find a [`Seen`] in the request.
pub(super) async fn remembered(State(https): State<HttpsOnly>, mut request: Request, next: Next) -> Response {
    let seen = Seen::take(request.headers_mut(), https);
    request.extensions_mut().insert(seen.clone());
    let mut response = next.run(request).await;
    seen.remember(response.headers_mut());
    response
}

/// Removes a cookie from a request; returns what it says, if it is a place of the log.
fn take_cookie(headers: &mut HeaderMap, name: &str) -> Option<Cookie> {
    let is_named = |pair: &&str| pair.trim().split_once('=').is_some_and(|(found, _)| found == name);
    let texts = || headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let found = texts().flat_map(|text| text.split(';')).find(is_named)?;
    let text = found.trim().split_once('=').map_or("", |(_, text)| text);
    let (text, expires) = text.strip_suffix(EXPIRES).map_or((text, false), |text| (text, true));
    let cookie = text.parse().ok().map(|place| Cookie { place, expires });
    let others = |text: &str| text.split(';').filter(|pair| !is_named(pair)).collect::<Vec<_>>().join(";");
    let rest: Vec<HeaderValue> = texts()
        .map(|text| others(text).trim().to_owned())
        .filter(|text| !text.is_empty())
        .filter_map(|text| HeaderValue::from_str(&text).ok())
        .collect();
    headers.remove(header::COOKIE);
    for value in rest {
        headers.append(header::COOKIE, value);
    }
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::COOKIE, HeaderValue::from_static(value))).collect()
    }

    fn left(headers: &HeaderMap) -> Vec<&str> {
        headers.get_all(header::COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn the_cookie_is_taken_out_and_the_others_stay() {
        for (sent, place, rest) in [
            (&["seen=7"][..], 7, &[][..]),
            (&["author=x; seen=7; theme=dark"], 7, &["author=x; theme=dark"]),
            (&["seen=7; author=x"], 7, &["author=x"]),
            (&["seen=7!; author=x"], 7, &["author=x"]),
            (&["author=x", "seen=007"], 7, &["author=x"]),
            (&["author=x; unseen=7"], 0, &["author=x; unseen=7"]),
            (&["seen=; author=x"], 0, &["author=x"]),
            (&["seen=-1"], 0, &[]),
            (&["seen=99999999999999999999"], 0, &[]),
            (&["seen=7; seen=9"], 7, &[]),
            (&["__Host-seen=7"], 0, &["__Host-seen=7"]),
            (&[], 0, &[]),
        ] {
            let mut headers = cookies(sent);
            let seen = Seen::take(&mut headers, HttpsOnly(false));
            assert_eq!(seen.minimum().unwrap_or_default(), Sequence::new(place), "{sent:?}");
            assert_eq!(left(&headers), rest, "{sent:?}");
        }
    }

    #[test]
    fn a_request_asks_for_the_later_of_what_it_names_and_what_its_reader_has_seen() {
        let of = |headers: &[(HeaderName, &'static str)]| {
            let values = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            let mut headers: HeaderMap = values.collect();
            let seen = Seen::take(&mut headers, HttpsOnly(false));
            let minimum = seen.raise_minimum(&mut headers).map_err(|error| error.problem().status);
            (minimum, headers.get(MIN_SEQUENCE).map(|value| value.to_str().unwrap().to_owned()))
        };
        let (cookie, named) = ((header::COOKIE, "seen=7"), |place| (MIN_SEQUENCE, place));
        let (seven, eight) = (Sequence::new(7), Sequence::new(8));
        assert_eq!(of(&[]), (Ok(Minimum::None), None));
        assert_eq!(of(std::slice::from_ref(&cookie)), (Ok(Minimum::Seen(seven)), Some("7".to_owned())));
        assert_eq!(of(&[named("08")]), (Ok(Minimum::Named(eight)), Some("08".to_owned())));
        assert_eq!(of(&[cookie.clone(), named("8")]), (Ok(Minimum::Named(eight)), Some("8".to_owned())));
        assert_eq!(of(&[cookie.clone(), named("6")]), (Ok(Minimum::Seen(seven)), Some("7".to_owned())));
        assert_eq!(of(&[cookie, named("x")]).0, Err(400));
    }

    fn set(seen: &Seen) -> Option<String> {
        let mut headers = HeaderMap::new();
        seen.remember(&mut headers);
        headers.get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_cookie_is_set_only_where_the_reader_has_seen_more() {
        let seen = |sent: &[&'static str]| Seen::take(&mut cookies(sent), HttpsOnly(false));
        let reader = seen(&[]);
        assert_eq!(set(&reader), None);
        reader.saw(None);
        assert_eq!(set(&reader), None, "a replica that is alone says nothing");
        reader.saw(Some(Sequence::new(9)));
        reader.saw(Some(Sequence::new(7)));
        assert_eq!(set(&reader).unwrap(), "seen=9; Path=/; HttpOnly; SameSite=Lax");
        let again = seen(&["seen=9"]);
        again.saw(Some(Sequence::new(9)));
        assert_eq!(set(&again), None);

        // It expires from the first refusal on, unless there is an answer.
        let refused = |sent| {
            let reader = seen(sent);
            reader.refused();
            reader
        };
        assert_eq!(
            set(&refused(&["seen=9"])).unwrap(),
            "seen=9!; Max-Age=30; Path=/; HttpOnly; SameSite=Lax"
        );
        let again = refused(&["seen=9!"]);
        assert_eq!(set(&again), None);
        again.saw(Some(Sequence::new(9)));
        assert_eq!(set(&again).unwrap(), "seen=9; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(set(&refused(&[])), None);

        let secure = Seen::take(&mut cookies(&["seen=5; __Host-seen=7"]), HttpsOnly(true));
        assert_eq!(secure.minimum(), Some(Sequence::new(7)));
        secure.saw(Some(Sequence::new(8)));
        assert_eq!(set(&secure).unwrap(), "__Host-seen=8; Path=/; HttpOnly; SameSite=Lax; Secure");
    }
}
