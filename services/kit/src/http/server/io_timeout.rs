//! A socket with timeouts for clients that do not finish a request's head, or do not read a response.

use super::Limits;
use crate::rt::{self, Instant, Sleep};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The phase of a connection, shared by the service, which knows when a head is complete, and the socket, which sees
/// the bytes: even while the connection waits for a request, odd while a handler runs.
#[derive(Clone, Default)]
pub(super) struct RequestPhase(Arc<AtomicU32>);

impl RequestPhase {
    /// To be called when a handler begins and when it ends.
    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn current(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Passes all bytes through, and fails with [`io::ErrorKind::TimedOut`] where the client
/// - has begun a request (or just connected) and does not complete its head within `limits.head`: hyper's own
///   timeout cannot distinguish this from an idle connection, which is kept for much longer;
/// - does not read: a write makes no progress for `limits.stall`.
pub(super) struct IdleTimeoutStream<S> {
    socket: S,
    limits: Limits,
    phase: RequestPhase,
    /// The phase in which the bytes of a head began to arrive.
    head_since: Option<u32>,
    head: Deadline,
    stall: Deadline,
}

impl<S> IdleTimeoutStream<S> {
    pub(super) fn new(socket: S, limits: Limits, phase: RequestPhase) -> Self {
        let head_since = Some(phase.current());
        Self { socket, limits, phase, head_since, head: Deadline::default(), stall: Deadline::default() }
    }

    pub(super) fn into_inner(self) -> S {
        self.socket
    }

    /// Passes the outcome of a write on, unless it has been pending for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stall.disarm();
            return wrote;
        }
        ready!(self.stall.poll(cx, self.limits.stall));
        Poll::Ready(Err(timed_out("the client does not read its response")))
    }
}

fn timed_out(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

/// A timer that runs from the first poll after it was disarmed. It is kept: creating one costs more than resetting.
#[derive(Default)]
struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Deadline {
    fn disarm(&mut self) {
        self.armed = false;
    }

    fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(rt::sleep(limit)));
        if !self.armed {
            self.armed = true;
            sleep.as_mut().reset(Instant::now() + limit);
        }
        sleep.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for IdleTimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let phase = this.phase.current();
        if this.head_since.is_some_and(|begun| begun != phase) {
            this.head_since = None;
            this.head.disarm();
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        if read.is_pending() && this.head_since.is_some() {
            ready!(this.head.poll(cx, this.limits.head));
            return Poll::Ready(Err(timed_out("the client does not finish its request's head")));
        }
        // In odd phases a handler runs, and what arrives is the body that it reads.
        if phase.is_multiple_of(2) && buf.filled().len() > before {
            this.head_since = Some(phase);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IdleTimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watch(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watch(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn pair() -> (IdleTimeoutStream<DuplexStream>, DuplexStream, RequestPhase) {
        let (ours, theirs) = duplex(8);
        let phase = RequestPhase::default();
        (IdleTimeoutStream::new(ours, Limits::default(), phase.clone()), theirs, phase)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_given_up_however_busily_it_drips() {
        let (mut ours, mut theirs, phase) = pair();
        for first in [true, false] {
            let started = Instant::now();
            let dripping = async {
                while theirs.write_u8(b'x').await.is_ok() {
                    rt::sleep(Duration::from_millis(900)).await;
                }
            };
            let reading = async {
                loop {
                    if let Err(error) = ours.read_u8().await {
                        return error;
                    }
                }
            };
            let error = tokio::select! { biased; error = reading => error, () = dripping => unreachable!() };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(started.elapsed().as_secs(), 5, "{first}");
            phase.advance();
            phase.advance();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_and_bodies_are_not_its_business() {
        let (mut ours, mut theirs, phase) = pair();
        let long = Duration::from_secs(60);
        theirs.write_all(b"head").await.unwrap();
        ours.read_exact(&mut [0; 4]).await.unwrap();
        phase.advance();
        theirs.write_all(b"bo").await.unwrap();
        ours.read_exact(&mut [0; 2]).await.unwrap();
        assert!(rt::timeout(long, ours.read_u8()).await.is_err(), "the body may take its time");
        phase.advance();
        assert!(rt::timeout(long, ours.read_u8()).await.is_err(), "so may the next request");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_does_not_read_is_given_up() {
        let (mut ours, _theirs, _) = pair();
        let started = Instant::now();
        let error = ours.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), Limits::default().stall);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_waited_for() {
        let (mut ours, mut theirs, _) = pair();
        let reading = rt::spawn(async move {
            let (mut all, mut some) = (0, [0; 8]);
            while let Ok(read @ 1..) = theirs.read(&mut some).await {
                all += read;
                rt::sleep(Limits::default().stall.mul_f32(0.9)).await;
            }
            all
        });
        ours.write_all(&[0; 80]).await.unwrap();
        drop(ours);
        assert_eq!(reading.await.unwrap(), 80);
    }
}
