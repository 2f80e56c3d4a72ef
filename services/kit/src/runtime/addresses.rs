//! The addresses of one service: one for each of its replicas.
//!
//! Requests take turns. An address that nobody can connect to is left out until it can be connected to again, which a
//! task of its own tries: no request waits for it, and one that is given up says nothing about an address. A request goes
//! to the next address where it was certainly not processed, or may be processed twice ([`may_repeat`]).

use crate::rt;
use crate::runtime::backoff::Backoff;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Uri};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpStream;

/// The most addresses of one service: a bit for each says whether it is left out.
pub const MAX_ADDRESSES: usize = u64::BITS as usize;

/// When an address that is left out is tried again.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) };
/// How long such an attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The addresses of one service. Clones share what is known about them.
#[derive(Debug, Clone)]
pub struct Addresses(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Base addresses without a slash at the end.
    all: Vec<String>,
    turn: AtomicUsize,
    /// A bit for each address that is left out.
    left_out: AtomicU64,
}

/// Whether a request may be sent again although it may have been processed: reads, and what carries a key by which a
/// service recognises it.
pub fn may_repeat(method: &Method, headers: &HeaderMap) -> bool {
    method.is_safe() || headers.contains_key(IDEMPOTENCY_KEY)
}

impl Addresses {
    /// Base addresses such as `http://posts:4000`, separated by commas. Those beyond [`MAX_ADDRESSES`] are not used:
    /// settings are checked by [`crate::app::config::base_urls`].
    pub fn new(list: &str) -> Self {
        let all = list.split(',').map(|base| base.trim().trim_end_matches('/').to_owned());
        let all = all.take(MAX_ADDRESSES).collect();
        Self(Arc::new(Shared { all, turn: AtomicUsize::new(0), left_out: AtomicU64::new(0) }))
    }

    /// All of them, in the order of the setting.
    pub fn all(&self) -> &[String] {
        &self.0.all
    }

    /// The numbers of the addresses for one request, in the order in which to try them: those that are left out last,
    /// as they may be all there is.
    pub fn for_request(&self) -> impl Iterator<Item = usize> + use<> {
        let left_out = self.0.left_out.load(Ordering::Relaxed);
        let (count, turn) = (self.0.all.len(), self.0.turn.fetch_add(1, Ordering::Relaxed));
        let group = move |out: u64| {
            let members = (0..count).filter(move |number| left_out >> number & 1 == out);
            let size = members.clone().count();
            // Each begins with another one, so that those that remain share the load of one that is left out.
            members.cycle().skip(turn.checked_rem(size).unwrap_or(0)).take(size)
        };
        group(0).chain(group(1))
    }

    /// Leaves an address out, to which no connection could be made, until one can be. The only one is never left out.
    pub fn cannot_connect(&self, number: usize) {
        let bit = 1 << number;
        if self.0.all.len() == 1 || self.0.left_out.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return;
        }
        tracing::warn!(address = self.0.all[number], "an address cannot be connected to; it is left out");
        rt::spawn(until_connected(Arc::downgrade(&self.0), number));
    }
}

/// Tries an address until a connection can be made.
async fn until_connected(shared: Weak<Shared>, number: usize) {
    for attempts in 1.. {
        rt::sleep(BACKOFF.ceiling(attempts)).await;
        // Nobody sends requests any more.
        let Some(shared) = shared.upgrade() else { return };
        if can_connect(&shared.all[number]).await {
            shared.left_out.fetch_and(!(1 << number), Ordering::Relaxed);
            tracing::info!(address = shared.all[number], "an address can be connected to again");
            return;
        }
    }
}

async fn can_connect(base: &str) -> bool {
    let uri: Option<Uri> = base.parse().ok();
    let Some(authority) = uri.as_ref().and_then(Uri::authority).map(Authority::as_str) else { return false };
    let with_port =
        if uri.as_ref().and_then(Uri::port_u16).is_some() { authority } else { &format!("{authority}:80") };
    matches!(rt::timeout(CONNECT_TIMEOUT, TcpStream::connect(with_port)).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::collections::BTreeMap;
    use test_support::{LIMIT, eventually, ports};
    use tokio::net::TcpListener;

    fn order(addresses: &Addresses) -> Vec<usize> {
        addresses.for_request().collect()
    }

    #[test]
    fn requests_take_turns() {
        let addresses = Addresses::new("http://a:1, http://b:1/,http://c:1");
        assert_eq!(addresses.all(), ["http://a:1", "http://b:1", "http://c:1"]);
        assert_eq!(order(&addresses), [0, 1, 2]);
        assert_eq!(order(&addresses), [1, 2, 0]);
        assert_eq!(order(&addresses), [2, 0, 1]);
        assert_eq!(order(&addresses), [0, 1, 2]);
        let many = Addresses::new(&["http://a"; 100].join(","));
        assert_eq!(order(&many).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn one_that_is_left_out_comes_last_and_the_others_share_its_load() {
        let [port] = ports::free(1)[..] else { unreachable!() };
        let addresses = Addresses::new(&format!("http://127.0.0.1:{port},http://b,http://c"));
        addresses.cannot_connect(0);
        let mut first = BTreeMap::new();
        for _ in 0..100 {
            let order = order(&addresses);
            assert_eq!((order.len(), order[2]), (3, 0));
            *first.entry(order[0]).or_insert(0) += 1;
        }
        assert_eq!(first, [(1, 50), (2, 50)].into());
        let _listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let back = async || addresses.for_request().take(2).any(|number| number == 0);
        eventually(LIMIT, "it is used again once it can be connected to", back).await;
    }

    #[tokio::test]
    async fn the_only_one_is_never_left_out() {
        let addresses = Addresses::new("http://a");
        addresses.cannot_connect(0);
        assert_eq!(addresses.0.left_out.load(Ordering::Relaxed), 0);
        assert_eq!(order(&addresses), [0]);
    }

    #[test]
    fn what_changes_something_is_not_repeated_without_a_key() {
        let mut headers = HeaderMap::new();
        assert!(may_repeat(&Method::GET, &headers) && !may_repeat(&Method::POST, &headers));
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("k"));
        assert!(may_repeat(&Method::POST, &headers));
    }
}
