//! A budget of memory for answers that are under way: however many clients read at once, and however slowly, what is
//! kept for them never takes more, and for one of them never more than its share.
//!
//! - What fits the buffers of a connection is not counted ([`SMALL`]).
//! - An answer whose bytes are all there is counted with these bytes until they are written. Bytes that several
//!   readers share, such as those of a cache, are counted once.
//! - A streamed answer is counted with [`STREAMED`] bytes for as long as it lasts: its next piece is only made when the
//!   one before is nearly written.
//! - Streams of events are not counted: they have limits of their own, and their pieces are small.
//!
//! An answer that is larger than the share, or than everything, is not refused to somebody who reads nothing else.
//! An answer to a request that has changed something is counted and never refused, since its client could not know
//! what has happened.

use super::ClientKey;
use super::shares::Exceeded;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http::header;
use hyper::body::{Frame, SizeHint};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// How many bytes of unread answers a server keeps at the same time: a quarter of the least memory that the manifests
/// grant.
pub const ANSWER_BUDGET: usize = 32 * 1024 * 1024;

/// The part of [`ANSWER_BUDGET`] that one client gets.
pub const CLIENT_ANSWER_BUDGET: usize = 8 * 1024 * 1024;

/// The largest answer that is not counted.
const SMALL: usize = 16 * 1024;

/// What a streamed answer takes: a piece, and as much again on its way to the connection.
const STREAMED: usize = 128 * 1024;

/// The bytes that are left. Clones share them.
#[derive(Debug, Clone)]
pub struct AnswerBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    whole: usize,
    of_one: usize,
    streams: AtomicU64,
    kept: Mutex<Kept>,
}

/// Only what is kept at the moment has an entry.
#[derive(Debug, Default)]
struct Kept {
    whole: usize,
    by_client: HashMap<ClientKey, usize>,
    /// How many readers each piece of memory has: among all (without a client), and of one client.
    readers: HashMap<(Memory, Option<ClientKey>), usize>,
}

/// A piece of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Memory {
    /// The address and the length of bytes, which stay there for as long as somebody reads them.
    Bytes(usize, usize),
    /// A stream, by its number.
    Stream(u64),
}

impl AnswerBudget {
    /// So many bytes for all clients, of which one gets at most `of_one`.
    pub fn new(bytes: usize, of_one: usize) -> Self {
        Self(Arc::new(Inner { whole: bytes, of_one, streams: AtomicU64::default(), kept: Mutex::default() }))
    }

    /// The answer, counted until it is written; an error where there is no memory left to keep it. With
    /// `may_refuse` off it is counted in any case.
    pub(super) async fn admit(
        &self,
        response: Response,
        client: Option<ClientKey>,
        may_refuse: bool,
    ) -> Result<Response, Exceeded> {
        let exact = response.body().size_hint().exact();
        if exact.is_some_and(|bytes| bytes <= SMALL as u64) || is_event_stream(&response) {
            return Ok(response);
        }
        let (head, mut body) = response.into_parts();
        // The first piece shows whether everything is there already. Of a stream it may not be there yet.
        let first = match std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await {
            Poll::Ready(None) => return Ok(Response::from_parts(head, Body::empty())),
            Poll::Ready(first) => first,
            Poll::Pending => None,
        };
        let ends = body.is_end_stream();
        let bytes = first.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
        let (memory, size) = match bytes {
            Some(bytes) if ends => (Memory::Bytes(bytes.as_ptr() as usize, bytes.len()), bytes.len()),
            _ => {
                let number = self.0.streams.fetch_add(1, Ordering::Relaxed);
                let size = exact.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(STREAMED);
                (Memory::Stream(number), size.min(STREAMED))
            }
        };
        let kept = if size <= SMALL { None } else { Some(self.keep(memory, size, client, may_refuse)?) };
        Ok(Response::from_parts(head, Body::new(CountedBody { first, body, kept })))
    }

    fn keep(
        &self,
        memory: Memory,
        size: usize,
        client: Option<ClientKey>,
        may_refuse: bool,
    ) -> Result<Arc<Reading>, Exceeded> {
        let mut kept = self.lock();
        let is_new = !kept.readers.contains_key(&(memory, None));
        if is_new && may_refuse && kept.whole > 0 && kept.whole + size > self.0.whole {
            return Err(Exceeded::Whole);
        }
        if let Some(client) = client {
            let mine = kept.by_client.get(&client).copied().unwrap_or(0);
            let is_new = !kept.readers.contains_key(&(memory, Some(client)));
            if is_new && may_refuse && mine > 0 && mine + size > self.0.of_one {
                return Err(Exceeded::Client);
            }
            if is_new {
                kept.by_client.insert(client, mine + size);
            }
            *kept.readers.entry((memory, Some(client))).or_default() += 1;
        }
        if is_new {
            kept.whole += size;
        }
        *kept.readers.entry((memory, None)).or_default() += 1;
        Ok(Arc::new(Reading { budget: self.clone(), memory, size, client }))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// One reader less; whether it was the last.
    fn leave(&mut self, memory: Memory, reader: Option<ClientKey>) -> bool {
        let Some(readers) = self.readers.get_mut(&(memory, reader)) else { return false };
        *readers -= 1;
        let was_last = *readers == 0;
        if was_last {
            self.readers.remove(&(memory, reader));
        }
        was_last
    }
}

/// Somebody who reads, until it is dropped.
#[derive(Debug)]
struct Reading {
    budget: AnswerBudget,
    memory: Memory,
    size: usize,
    client: Option<ClientKey>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut kept = self.budget.lock();
        if kept.leave(self.memory, None) {
            kept.whole -= self.size;
        }
        let Some(client) = self.client else { return };
        if kept.leave(self.memory, Some(client)) {
            let left = kept.by_client.get(&client).copied().unwrap_or(0).saturating_sub(self.size);
            if left == 0 {
                kept.by_client.remove(&client);
            } else {
                kept.by_client.insert(client, left);
            }
        }
    }
}

fn is_event_stream(response: &Response) -> bool {
    let media = response.headers().get(header::CONTENT_TYPE);
    media.is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"))
}

/// Bytes on their way to the connection, which drops them when they are written.
struct CountedBytes {
    bytes: Bytes,
    _kept: Arc<Reading>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body whose first piece has been read already.
struct CountedBody {
    first: Option<Result<Frame<Bytes>, axum::Error>>,
    body: Body,
    kept: Option<Arc<Reading>>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = match this.first.take() {
            Some(frame) => Some(frame),
            None => std::task::ready!(Pin::new(&mut this.body).poll_frame(context)),
        };
        let Some(kept) = &this.kept else { return Poll::Ready(frame) };
        let count = |bytes| Bytes::from_owner(CountedBytes { bytes, _kept: Arc::clone(kept) });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(count))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let first = self.first.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
        let first = first.map_or(0, |bytes| bytes.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use futures_util::stream;
    use http_body_util::BodyExt;
    use std::convert::Infallible;
    use std::net::IpAddr;

    const MIB: usize = 1024 * 1024;

    /// Admits an answer for this client, which only reads.
    async fn admit(budget: &AnswerBudget, n: u8, answer: Response) -> Result<Response, Exceeded> {
        let client = ClientKey::from(IpAddr::from([192, 0, 2, n]));
        budget.admit(answer, Some(client), true).await
    }

    fn whole(bytes: Bytes) -> Response {
        Body::from(bytes).into_response()
    }

    fn streamed() -> Response {
        let pieces = stream::iter((0..3).map(|_| Ok::<_, Infallible>(vec![b'x'; SMALL])));
        Body::from_stream(pieces).into_response()
    }

    impl AnswerBudget {
        fn is_unused(&self) -> bool {
            let kept = self.lock();
            kept.whole == 0 && kept.by_client.is_empty() && kept.readers.is_empty()
        }
    }

    #[tokio::test]
    async fn an_answer_is_counted_until_its_last_byte_is_written() {
        let budget = AnswerBudget::new(4 * MIB, 2 * MIB);
        let admit = async |n, size| admit(&budget, n, whole(vec![b'x'; size].into())).await;
        let first = admit(1, 2 * MIB).await.unwrap();
        assert_eq!(first.body().size_hint().exact(), Some(2 * MIB as u64));
        assert_eq!(admit(1, 17 * 1024).await.unwrap_err(), Exceeded::Client);
        assert!(admit(1, SMALL).await.is_ok(), "what is small is not counted");
        let second = admit(2, 2 * MIB).await.unwrap();
        assert_eq!(admit(3, 17 * 1024).await.unwrap_err(), Exceeded::Whole);
        drop(second);

        let bytes = first.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(bytes.len(), 2 * MIB);
        assert_eq!(admit(1, MIB).await.unwrap_err(), Exceeded::Client, "the connection still has the bytes");
        drop(bytes);
        assert!(admit(1, 2 * MIB).await.is_ok());
        assert!(admit(1, 5 * MIB).await.is_ok(), "a single answer may be larger than everything");
        let (other, large) = (admit(2, MIB).await.unwrap(), admit(1, 3 * MIB).await);
        assert!(large.is_ok(), "or than the share");
        assert_eq!(admit(3, MIB).await.unwrap_err(), Exceeded::Whole);
        drop((other, large));
        assert!(budget.is_unused());
    }

    #[tokio::test]
    async fn bytes_that_are_shared_are_counted_once() {
        let budget = AnswerBudget::new(4 * MIB, 2 * MIB);
        let cached = Bytes::from(vec![b'x'; 2 * MIB]);
        let mut readers = Vec::new();
        for n in 0..100 {
            readers.push(admit(&budget, n % 10, whole(cached.clone())).await.unwrap());
        }
        assert!(admit(&budget, 200, whole(vec![b'x'; 2 * MIB].into())).await.is_ok());
        let other = whole(vec![b'x'; MIB].into());
        assert_eq!(admit(&budget, 5, other).await.unwrap_err(), Exceeded::Client);
        drop(readers);
        assert!(budget.is_unused());
    }

    #[tokio::test]
    async fn a_stream_is_counted_as_long_as_it_lasts() {
        let budget = AnswerBudget::new(STREAMED, STREAMED);
        let first = admit(&budget, 1, streamed()).await.unwrap();
        assert_eq!(admit(&budget, 2, streamed()).await.unwrap_err(), Exceeded::Whole);
        assert!(budget.admit(streamed(), None, false).await.is_ok(), "a write is answered in any case");
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), vec![b'x'; 3 * SMALL]);
        assert!(budget.is_unused());
        let late = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()).into_response();
        let late = admit(&budget, 1, late).await.unwrap();
        assert_eq!(admit(&budget, 2, streamed()).await.unwrap_err(), Exceeded::Whole);
        drop(late);
        let events = (
            [(header::CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()),
        );
        let _events = admit(&budget, 1, events.into_response()).await.unwrap();
        assert!(budget.is_unused(), "streams of events have limits of their own");
    }
}
