//! One connection, from its first byte to its close.

use super::Limits;
use super::activity::{Activity, Busy};
use super::io_timeout::IdleTimeoutStream;
use super::slots::Slot;
use crate::rt;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::routing::future::RouteFuture;
use http::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::Service;

/// How long, and for how many bytes, a client may go on sending after its response.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 4 * 1024 * 1024;

/// hyper accepts no smaller one.
const SMALLEST_BUFFER: usize = 8 * 1024;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) slot: Slot,
}

impl Connection {
    pub(super) async fn run(self) {
        let Self { stream, peer, router, limits, slot } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let activity = slot.activity.clone();
        let stream = IdleTimeoutStream::new(stream, limits, activity.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            activity.advance();
            Handling { response: router.clone().call(request), activity: activity.clone() }
        });
        let mut http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_headers(limits.headers)
            .max_buf_size(limits.head_bytes.max(SMALLEST_BUFFER))
            .serve_connection(TokioIo::new(stream), service);

        let ended = tokio::select! {
            biased;
            () = slot.leave.cancelled() => {
                if slot.closed.is_cancelled() && slot.activity.has_part_of_a_head() {
                    return tracing::debug!(%peer, "connection closed for another one, before its request was whole");
                }
                Pin::new(&mut http).graceful_shutdown();
                std::future::poll_fn(|cx| http.poll_without_shutdown(cx)).await
            }
            ended = std::future::poll_fn(|cx| http.poll_without_shutdown(cx)) => ended,
        };
        let stream = match &ended {
            Ok(()) => http.into_parts().io,
            // The client has been answered 400 or 431.
            Err(error) if error.is_parse() => http.into_parts().io,
            // The client is slow, has left or does not read: nobody would get a response.
            Err(error) => return tracing::debug!(%peer, %error, "connection broken"),
        };
        slot.leave.run_until_cancelled(close(stream.into_inner().into_inner())).await;
    }
}

/// A handler's work, up to the head of its response.
struct Handling {
    response: RouteFuture<Infallible>,
    activity: Activity,
}

impl Future for Handling {
    type Output = Result<http::Response<WatchedBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.response).poll(cx));
        self.activity.set(Busy::Body);
        self.activity.advance();
        Poll::Ready(Ok(response.map(|body| WatchedBody { body, activity: self.activity.clone() })))
    }
}

/// A response's body, which hyper drops at its end: from then on the connection may be idle.
struct WatchedBody {
    body: Body,
    activity: Activity,
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.activity.clear(Busy::Body);
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Closes so that the last response arrives: closing with unread bytes makes the system send a reset, which can
/// destroy a response that the client has not read yet (413 to a client that is still sending).
pub(super) async fn close(mut stream: TcpStream) {
    let lingering = async {
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whatever goes wrong here, the connection is over.
    let _ = rt::timeout(LINGER, lingering).await;
}
