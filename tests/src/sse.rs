//! Streams of server-sent events over HTTP.

use crate::http::Request;
use test_support::LIMIT;
pub use test_support::sse::Event;
use tokio::time::timeout;

/// An open stream. Dropping it disconnects.
#[derive(Debug)]
pub struct Reader(test_support::sse::Reader);

impl Reader {
    /// Sends a request whose answer must be a stream; an error says what else came.
    pub async fn open(request: Request) -> Result<Self, String> {
        let response = request.header("accept", "text/event-stream").try_open().await?;
        let media = response.headers().get("content-type").and_then(|v| v.to_str().ok());
        if response.status().as_u16() == 200 && media == Some("text/event-stream") {
            Ok(Self(test_support::sse::Reader::new(response.bytes_stream())))
        } else {
            Err(format!("no stream but {response:?}"))
        }
    }

    /// The next event; nothing where the stream ends or breaks. Skips heartbeats.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await?.ok()
    }
}

/// An open stream that keeps every event it has read. Dropping it disconnects.
#[derive(Debug)]
pub struct Stream {
    reader: Reader,
    seen: Vec<Event>,
}

impl Stream {
    /// Sends a request whose answer must be a stream.
    pub async fn open(request: Request) -> Self {
        let reader = Reader::open(request).await.unwrap_or_else(|e| panic!("{e}"));
        Self { reader, seen: Vec::new() }
    }

    /// The next event; nothing where the stream ends or breaks. Skips heartbeats.
    pub async fn next(&mut self) -> Option<Event> {
        let event = timeout(LIMIT, self.read()).await;
        event.unwrap_or_else(|_| panic!("no event within {LIMIT:?}; before: {:?}", self.seen))
    }

    async fn read(&mut self) -> Option<Event> {
        let event = self.reader.next().await?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Reads to the first event that fulfils the condition.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Event) -> bool) -> Event {
        let look = async {
            loop {
                let event = self.read().await?;
                if condition(&event) {
                    return Some(event);
                }
            }
        };
        let found = timeout(LIMIT, look).await;
        let found = found.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}; before: {:?}", self.seen));
        found.unwrap_or_else(|| panic!("the stream ended before {what}; before: {:?}", self.seen))
    }

    /// Every event so far.
    pub fn seen(&self) -> &[Event] {
        &self.seen
    }
}
