//! A stream of server-sent events, as a browser reads it.

use axum::body::Body;
use http::HeaderMap;
use std::time::Duration;
use test_support::sse::{Event, Reader};
use test_support::{LIMIT, in_time};

/// An open stream. Dropping it closes it.
#[derive(Debug)]
pub struct Sse {
    /// The headers of the answer.
    pub headers: HeaderMap,
    reader: Reader,
}

impl Sse {
    pub(crate) fn new(headers: HeaderMap, body: Body) -> Self {
        Self { headers, reader: Reader::new(body.into_data_stream()) }
    }

    /// The next event; nothing at the end of the stream. Skips heartbeats.
    pub async fn next(&mut self) -> Option<Event> {
        let next = in_time("the next event of a stream", self.reader.next()).await;
        next.map(|event| event.unwrap_or_else(|e| panic!("the stream broke: {e}")))
    }

    /// The next event. The test fails if the stream ends.
    pub async fn expect(&mut self) -> Event {
        self.next().await.expect("the stream ended")
    }

    /// The next `count` events.
    pub async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.expect().await);
        }
        events
    }

    /// Whether no event comes for this long.
    pub async fn is_silent_for(&mut self, span: Duration) -> bool {
        assert!(span < LIMIT);
        kit::rt::timeout(span, self.reader.next()).await.is_err()
    }
}
