//! Server-Sent Events.

use crate::rt;
use futures_util::{Stream, StreamExt, stream};
use std::time::Duration;

/// How long a stream may be silent.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Sends `comment` whenever the stream has sent nothing for [`HEARTBEAT`], so that no proxy takes the connection for
/// dead. Clients ignore comments. This replaces axum's `KeepAlive`, whose timer does not go through [`rt`].
pub fn with_heartbeat<E: Clone + Send + 'static>(
    events: impl Stream<Item = E> + Send + 'static,
    comment: E,
) -> impl Stream<Item = E> + Send {
    stream::unfold((Box::pin(events), comment), |(mut events, comment)| async move {
        let next = rt::timeout(HEARTBEAT, events.next()).await;
        let event = next.unwrap_or_else(|_| Some(comment.clone()))?;
        Some((event, (events, comment)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::BodyDataStream;
    use axum::response::IntoResponse;
    use axum::response::sse::{Event, Sse};
    use rt::Instant;
    use std::convert::Infallible;

    /// The bytes of a stream with a heartbeat, and when they are sent.
    struct Body(BodyDataStream, Instant);

    impl Body {
        fn of(events: impl Stream<Item = Event> + Send + 'static) -> Self {
            let events = with_heartbeat(events, Event::DEFAULT_KEEP_ALIVE);
            let response = Sse::new(events.map(Ok::<_, Infallible>)).into_response();
            Self(response.into_body().into_data_stream(), Instant::now())
        }

        /// Sends this next, `at` seconds after the start; `None` is the end.
        async fn sends(&mut self, at: u64, expected: Option<&str>) {
            let bytes = self.0.next().await.map(Result::unwrap);
            let text = bytes.as_deref().map(|bytes| str::from_utf8(bytes).unwrap());
            assert_eq!((self.1.elapsed().as_secs(), text), (at, expected));
        }
    }

    /// An event after each of these seconds of silence.
    fn after_each(
        seconds: impl IntoIterator<Item = u64, IntoIter: Send + 'static>,
    ) -> impl Stream<Item = Event> {
        stream::iter(seconds).then(async |seconds| {
            rt::sleep(Duration::from_secs(seconds)).await;
            Event::default().data("x")
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_sends_a_comment_after_each_interval() {
        let mut body = Body::of(after_each([1]).chain(stream::pending()));
        body.sends(1, Some("data: x\n\n")).await;
        for at in [16, 31, 46] {
            body.sends(at, Some(":\n\n")).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_stream_needs_no_comment_and_a_stream_that_ends_has_an_end() {
        let mut body = Body::of(after_each([14, 14, 14, 14]));
        for at in [14, 28, 42, 56] {
            body.sends(at, Some("data: x\n\n")).await;
        }
        body.sends(56, None).await;
    }
}
