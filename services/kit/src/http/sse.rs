//! Server-Sent Events.

use crate::rt::{self, Instant, Sleep};
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long a stream may be silent.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Sends `comment` whenever the stream has sent nothing for [`HEARTBEAT`], so that no proxy takes the connection for
/// dead. Clients ignore comments. This replaces axum's `KeepAlive`, whose timer does not go through [`rt`].
pub fn with_heartbeat<E: Clone + Send + Unpin + 'static>(
    events: impl Stream<Item = E> + Send + 'static,
    comment: E,
) -> impl Stream<Item = E> + Send {
    let silence = Box::pin(rt::sleep(HEARTBEAT));
    Heartbeat { events: Box::pin(events), comment, silence, last: Instant::now() }
}

struct Heartbeat<S, E> {
    events: Pin<Box<S>>,
    comment: E,
    /// Set again only when it fires: an event for thousands of streams would otherwise move as many timers.
    silence: Pin<Box<Sleep>>,
    /// When something was sent.
    last: Instant,
}

impl<S: Stream<Item = E>, E: Clone + Unpin> Stream for Heartbeat<S, E> {
    type Item = E;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<E>> {
        if let Poll::Ready(next) = self.events.as_mut().poll_next(cx) {
            self.last = Instant::now();
            return Poll::Ready(next);
        }
        loop {
            ready!(self.silence.as_mut().poll(cx));
            let is_due = self.last.elapsed() >= HEARTBEAT;
            if is_due {
                self.last = Instant::now();
            }
            let next = self.last + HEARTBEAT;
            self.silence.as_mut().reset(next);
            if is_due {
                return Poll::Ready(Some(self.comment.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::BodyDataStream;
    use axum::response::IntoResponse;
    use axum::response::sse::{Event, Sse};
    use futures_util::{StreamExt, stream};
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
