//! Server-sent events.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use sse_stream::SseByteStream;
use std::error::Error;
use std::pin::Pin;

/// One event of a stream; a field that it does not have is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The name of the event.
    pub event: String,
    /// The id from which the stream can be resumed.
    pub id: String,
    /// The payload.
    pub data: String,
}

impl Event {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }
}

/// The events of an open stream. Dropping it closes the connection.
pub struct Reader(Pin<Box<dyn Stream<Item = Result<Event, String>> + Send>>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads the body of an answer.
    pub fn new<E: Error + Send + Sync + 'static>(
        body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Self {
        let events = SseByteStream::new(Box::pin(body)).filter_map(async |event| match event {
            Err(error) => Some(Err(error.to_string())),
            // As in a browser: comments (heartbeats) and blocks without data are not events.
            Ok(event) => Some(Ok(Event {
                data: event.data?,
                event: event.event.unwrap_or_default(),
                id: event.id.unwrap_or_default(),
            })),
        });
        Self(Box::pin(events))
    }

    /// The next event; nothing at the end of the stream, and an error where it breaks.
    pub async fn next(&mut self) -> Option<Result<Event, String>> {
        self.0.next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[tokio::test]
    async fn an_event_in_pieces_is_one_and_a_heartbeat_is_none() {
        let pieces =
            [": heartbeat\n", "\n", "id: 7\neve", "nt: change\nda", "ta: {\"a\":\"ä", "\"}\n\n", "id: 8\n\n"];
        let body = futures_util::stream::iter(pieces.map(|piece| Ok::<_, Infallible>(Bytes::from(piece))));
        let mut reader = Reader::new(body);
        let event = reader.next().await.unwrap().unwrap();
        assert_eq!((event.id.as_str(), event.event.as_str()), ("7", "change"));
        assert_eq!(event.json(), serde_json::json!({"a": "ä"}));
        assert!(reader.next().await.is_none(), "without data there is no event");
    }
}
