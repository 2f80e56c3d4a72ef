//! A socket with timeouts for clients that do not finish a request's head, or do not read a response.

use super::Limits;
use super::activity::{Activity, Busy};
use crate::http::minimum_rate::MinimumRate;
use crate::rt::{self, Instant, Sleep};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Passes all bytes through, and fails with [`io::ErrorKind::TimedOut`] where the client
/// - has begun a request (or just connected) and does not complete its head within `limits.head`: hyper's own
///   timeout cannot distinguish this from an idle connection, which is kept for much longer;
/// - does not read for `limits.stall`, or reads more slowly than the minimum rate for longer than that.
pub(super) struct IdleTimeoutStream<S> {
    socket: S,
    limits: Limits,
    activity: Activity,
    /// The phase in which the bytes of a head began to arrive.
    head_since: Option<u32>,
    head: Deadline,
    reading: MinimumRate,
    /// Whether the client has not taken all that there is for it.
    unwritten: bool,
}

impl<S> IdleTimeoutStream<S> {
    pub(super) fn new(socket: S, limits: Limits, activity: Activity) -> Self {
        let (head_since, reading) = (Some(activity.phase()), MinimumRate::new(limits.stall));
        Self { socket, limits, activity, head_since, head: Deadline::default(), reading, unwritten: false }
    }

    pub(super) fn into_inner(self) -> S {
        self.socket
    }

    /// Passes the outcome of a write on, unless the client takes too long.
    fn watch(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = wrote {
            self.reading.progress(written.as_ref().map_or(0, |bytes| *bytes));
            return Poll::Ready(written);
        }
        if !self.unwritten {
            self.unwritten = true;
            self.activity.set(Busy::Unwritten);
        }
        ready!(self.reading.poll_used_up(cx));
        Poll::Ready(Err(timed_out("the client does not read its response, or too slowly")))
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
        let phase = this.activity.phase();
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
            this.activity.set(Busy::Head);
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
        // A socket has nothing to flush: this says that all has been written.
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        if self.unwritten && flushed.is_ready() {
            self.unwritten = false;
            self.reading.reset();
            self.activity.clear(Busy::Unwritten);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn pair() -> (IdleTimeoutStream<DuplexStream>, DuplexStream, Activity) {
        let (ours, theirs) = duplex(8);
        let phase = Activity::new(Instant::now(), std::sync::Arc::default());
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

    /// How long it takes to write 64 KiB to a client that reads so many bytes at a time, after a pause each.
    async fn read_by(bytes: usize, pause: Duration) -> (io::Result<()>, Duration) {
        let (mut ours, mut theirs, _) = pair();
        let reading = rt::spawn(async move {
            let mut some = vec![0; 8];
            loop {
                for _ in 0..bytes / 8 {
                    if theirs.read(&mut some).await.unwrap() == 0 {
                        return;
                    }
                }
                rt::sleep(pause).await;
            }
        });
        let started = Instant::now();
        let written = ours.write_all(&vec![0; 64 * 1024]).await;
        drop(ours);
        reading.await.unwrap();
        (written, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_be_slow_and_may_pause() {
        for (bytes, pause) in [(2_048, 2), (32 * 1024, 29)].map(|(bytes, s)| (bytes, Duration::from_secs(s)))
        {
            assert!(read_by(bytes, pause).await.0.is_ok(), "{bytes} bytes, then {pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_only_sips_is_given_up() {
        let (written, took) = read_by(512, Duration::from_secs(1)).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(took < Limits::default().stall * 3, "{took:?}");
    }
}
