//! A stream of server-sent events, as a browser reads it.

use crate::wait::{LIMIT, in_time};
use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt;
use http::HeaderMap;
use serde_json::Value;
use std::time::Duration;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its name; empty where it has none.
    pub event: String,
    /// Its id.
    pub id: String,
    /// Its data.
    pub data: String,
}

impl SseEvent {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("JSON")
    }
}

/// An open stream; dropping it is closing it.
pub struct Sse {
    /// The headers of the answer.
    pub headers: HeaderMap,
    body: BodyDataStream,
    text: String,
}

impl std::fmt::Debug for Sse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sse").field("unread", &self.text).finish_non_exhaustive()
    }
}

impl Sse {
    pub(crate) fn new(headers: HeaderMap, body: Body) -> Self {
        Self { headers, body: body.into_data_stream(), text: String::new() }
    }

    /// The next event; nothing at the end of the stream. Comments are passed over.
    pub async fn next(&mut self) -> Option<SseEvent> {
        in_time("the next event of a stream", self.read()).await
    }

    /// The next event, which must come.
    pub async fn expect(&mut self) -> SseEvent {
        self.next().await.expect("the stream ended")
    }

    /// The next `count` events.
    pub async fn take(&mut self, count: usize) -> Vec<SseEvent> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.expect().await);
        }
        events
    }

    /// Whether nothing comes for a while.
    pub async fn is_silent_for(&mut self, span: Duration) -> bool {
        assert!(span < LIMIT);
        kit::rt::timeout(span, self.read()).await.is_err()
    }

    async fn read(&mut self) -> Option<SseEvent> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event = parse(&self.text[..end]);
                self.text.drain(..end + 2);
                if event.is_some() {
                    return event;
                }
            }
            let chunk = self.body.next().await?.expect("a stream that does not break");
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

fn parse(block: &str) -> Option<SseEvent> {
    let mut event = SseEvent::default();
    let mut any = false;
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "event" => event.event = value,
            "id" => event.id = value,
            "data" => event.data = value,
            _ => continue,
        }
        any = true;
    }
    any.then_some(event)
}
