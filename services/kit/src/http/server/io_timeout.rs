//! A socket that gives up on clients who neither finish what they begin to say nor read what they are told.

use super::Limits;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Counts the beginnings and ends of handling. Only the service knows that a head is complete, and only the socket
/// sees bytes; this is what they share.
#[derive(Clone, Default)]
pub(super) struct RequestPhase(Arc<AtomicU32>);

impl RequestPhase {
    /// A handler begins or ends.
    pub(super) fn next(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Passes everything through, and fails with [`io::ErrorKind::TimedOut`] where the client
/// - has begun a request (or just connected) and does not complete its head within `limits.head`: hyper's own
///   timeout cannot tell this from an idle connection, which may be kept for much longer;
/// - does not read: a write makes no progress for `limits.stall`.
pub(super) struct IdleTimeoutStream<S> {
    socket: S,
    limits: Limits,
    turns: RequestPhase,
    /// The turn in which the bytes of a head began to arrive.
    head_in: Option<u32>,
    head: Deadline,
    stall: Deadline,
}

impl<S> IdleTimeoutStream<S> {
    pub(super) fn new(socket: S, limits: Limits, turns: RequestPhase) -> Self {
        let head_in = Some(turns.now());
        Self { socket, limits, turns, head_in, head: Deadline::default(), stall: Deadline::default() }
    }

    pub(super) fn into_inner(self) -> S {
        self.socket
    }

    /// Lets a write's outcome through, unless it has been pending for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stall.disarm();
            return wrote;
        }
        ready!(self.stall.poll(cx, self.limits.stall));
        Poll::Ready(Err(timed_out("the client does not read its answer")))
    }
}

fn timed_out(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

/// A timer that runs from the first poll after it was disarmed. It is kept, as making one costs more than setting it.
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
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
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
        let turn = this.turns.now();
        if this.head_in.is_some_and(|begun| begun != turn) {
            this.head_in = None;
            this.head.disarm();
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        if read.is_pending() && this.head_in.is_some() {
            ready!(this.head.poll(cx, this.limits.head));
            return Poll::Ready(Err(timed_out("the client does not finish its request's head")));
        }
        // In odd turns a handler runs, and what arrives is the body that it reads.
        if turn.is_multiple_of(2) && buf.filled().len() > before {
            this.head_in = Some(turn);
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
        let turns = RequestPhase::default();
        (IdleTimeoutStream::new(ours, Limits::default(), turns.clone()), theirs, turns)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_given_up_however_busily_it_drips() {
        let (mut ours, mut theirs, turns) = pair();
        for first in [true, false] {
            let started = Instant::now();
            let dripping = async {
                while theirs.write_u8(b'x').await.is_ok() {
                    sleep(Duration::from_millis(900)).await;
                }
            };
            let reading = async {
                loop {
                    if let Err(error) = ours.read_u8().await {
                        return error;
                    }
                }
            };
            let error = tokio::select! { error = reading => error, () = dripping => unreachable!() };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(started.elapsed().as_secs(), 5, "{first}");
            turns.next();
            turns.next();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_and_bodies_are_not_its_business() {
        let (mut ours, mut theirs, turns) = pair();
        let long = Duration::from_secs(60);
        theirs.write_all(b"head").await.unwrap();
        ours.read_exact(&mut [0; 4]).await.unwrap();
        turns.next();
        theirs.write_all(b"bo").await.unwrap();
        ours.read_exact(&mut [0; 2]).await.unwrap();
        assert!(tokio::time::timeout(long, ours.read_u8()).await.is_err(), "the body may take its time");
        turns.next();
        assert!(tokio::time::timeout(long, ours.read_u8()).await.is_err(), "so may the next request");
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
        let reading = tokio::spawn(async move {
            let (mut all, mut some) = (0, [0; 8]);
            while let Ok(read @ 1..) = theirs.read(&mut some).await {
                all += read;
                sleep(Limits::default().stall.mul_f32(0.9)).await;
            }
            all
        });
        ours.write_all(&[0; 80]).await.unwrap();
        drop(ours);
        assert_eq!(reading.await.unwrap(), 80);
    }
}
