//! Streams of server-sent events.

use crate::eventually::LIMIT;
use crate::http::Request;
use serde_json::Value;
use tokio::time::timeout;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its `id`.
    pub id: String,
    /// Its `event`; empty where it has none.
    pub name: String,
    /// Its `data`.
    pub data: String,
}

impl Event {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    fn parse(block: &str) -> Option<Self> {
        let mut event = Self::default();
        for line in block.lines() {
            let Some((field, value)) = line.split_once(':') else { continue };
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut event.id),
                "event" => value.clone_into(&mut event.name),
                "data" => event.data.push_str(value),
                _ => {}
            }
        }
        // Comments alone are a heartbeat.
        (!event.data.is_empty()).then_some(event)
    }
}

/// What comes of an open stream. Dropping it disconnects.
#[derive(Debug)]
pub struct Reader {
    response: reqwest::Response,
    unread: Vec<u8>,
}

impl Reader {
    /// Opens the stream that this request asks for; an error is that there was another answer, or none.
    pub async fn open(request: Request) -> Result<Self, String> {
        let response = request.header("accept", "text/event-stream").try_open().await?;
        let media = response.headers().get("content-type").and_then(|v| v.to_str().ok());
        if response.status().as_u16() == 200 && media == Some("text/event-stream") {
            Ok(Self { response, unread: Vec::new() })
        } else {
            Err(format!("no stream but {response:?}"))
        }
    }

    /// The next event; nothing where the stream has ended. Heartbeats are none.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..at + 2).collect();
                if let Some(event) = Event::parse(&String::from_utf8_lossy(&block)) {
                    return Some(event);
                }
                continue;
            }
            // A stream that breaks has ended, too.
            let chunk = self.response.chunk().await.ok()??;
            self.unread.extend_from_slice(&chunk);
        }
    }
}

/// An open stream that remembers what it brought. Dropping it disconnects.
#[derive(Debug)]
pub struct Stream {
    reader: Reader,
    seen: Vec<Event>,
}

impl Stream {
    /// Opens the stream that this request asks for.
    pub async fn open(request: Request) -> Self {
        let reader = Reader::open(request).await.unwrap_or_else(|e| panic!("{e}"));
        Self { reader, seen: Vec::new() }
    }

    /// The next event; nothing where the stream has ended. Heartbeats are none.
    pub async fn next(&mut self) -> Option<Event> {
        let event = timeout(LIMIT, self.read()).await;
        event.unwrap_or_else(|_| panic!("no event within {LIMIT:?}; before: {:?}", self.seen))
    }

    async fn read(&mut self) -> Option<Event> {
        let event = self.reader.next().await?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Reads on to the first event of which the condition holds.
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
