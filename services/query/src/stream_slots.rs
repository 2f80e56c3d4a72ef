//! Who may have a stream of changes: so many together, and so many for each client and for each author.

use http::HeaderMap;
use kit::http::author::AuthorToken;
use kit::http::{
    ApiError, ApiResult, AuthorKey, ClientAddress, ClientKey, Exceeded, RateLimits, SecurityEvent, Shares,
};
use shared::ProblemKind;

/// All of them: half of the connections, so that deliveries and probes always get one.
const MAX_LISTENERS: usize = 2_048;
/// Those of one address: a classroom of a hundred behind it, with several windows each.
const LISTENERS_OF_ADDRESS: usize = 512;
/// Those of one author: many windows of a browser.
const LISTENERS_OF_AUTHOR: usize = 32;

/// The open streams, by address and by author.
#[derive(Debug, Clone)]
pub struct StreamSlots {
    of_addresses: Shares<ClientKey>,
    of_authors: Shares<AuthorKey>,
}

impl StreamSlots {
    pub fn new(limits: RateLimits) -> Self {
        let share = |share| if limits.is_on() { share } else { MAX_LISTENERS };
        Self {
            of_addresses: Shares::new(MAX_LISTENERS, share(LISTENERS_OF_ADDRESS)),
            of_authors: Shares::new(MAX_LISTENERS, share(LISTENERS_OF_AUTHOR)),
        }
    }

    /// A slot for one stream, until it is dropped.
    pub fn take(&self, client: ClientAddress, headers: &HeaderMap) -> ApiResult<impl Send + use<>> {
        let author = AuthorToken::from_headers(headers).map(|token| token.limit_key());
        let of_address = self.of_addresses.take_one(client.key());
        let of_author = of_address.and_then(|slot| Ok((slot, self.of_authors.take_one(author)?)));
        of_author.map_err(|exceeded| match exceeded {
            Exceeded::Client => ApiError::new(ProblemKind::TooManyRequests)
                .detail("you have too many streams open; close some first")
                .retry_after(30)
                .security_event(SecurityEvent::ShareExceeded),
            Exceeded::Whole => {
                ApiError::new(ProblemKind::Unavailable).detail("too many streams are open").retry_after(30)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE;
    use std::net::IpAddr;

    fn client(n: u8) -> ClientAddress {
        ClientAddress(Some(IpAddr::from([192, 0, 2, n])))
    }

    fn cookie(author: u8) -> HeaderMap {
        [(COOKIE, format!("author={author:032x}").parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn an_address_and_an_author_have_their_share_of_the_streams() {
        let slots = StreamSlots::new(RateLimits::On);
        let (mut held, nobody) = (Vec::new(), HeaderMap::new());
        let refused =
            |client, headers: &HeaderMap| slots.take(client, headers).err().map(|e| e.problem().status);
        for _ in 0..LISTENERS_OF_ADDRESS {
            held.push(slots.take(client(1), &nobody).unwrap());
        }
        assert_eq!(refused(client(1), &nobody), Some(429));
        for n in 0..LISTENERS_OF_AUTHOR as u8 {
            held.push(slots.take(client(2 + n % 2), &cookie(7)).unwrap());
        }
        assert_eq!(refused(client(4), &cookie(7)), Some(429), "the author's, wherever they are");
        assert_eq!(refused(client(4), &cookie(8)), None);
        held.clear();
        assert_eq!(refused(client(1), &cookie(7)), None);

        let slots = StreamSlots::new(RateLimits::Off);
        let held: Vec<_> = (0..MAX_LISTENERS).map(|_| slots.take(client(1), &cookie(7)).unwrap()).collect();
        assert_eq!(slots.take(client(2), &nobody).err().map(|e| e.problem().status), Some(503));
        drop(held);
    }
}
