//! HTTP/1.1 over TCP, with the limits that a server on an open network needs.
//!
//! `axum::serve` has no header timeout, no limit on connections and no end to its graceful stop; hence this loop.

mod activity;
mod connection;
mod io_timeout;
mod refusal;
mod slots;

use crate::rt;
use crate::runtime::lifecycle::Lifecycle;
use axum::Router;
use connection::Connection;
use refusal::Refusal;
use slots::{Slots, TooMany};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time. For more, the one that has been idle for the longest time is closed; where all are
    /// in use, they wait in the system's queue.
    pub connections: usize,
    /// Those of one address. For more, one of its own idle ones is closed; where all are in use, they are refused.
    pub connections_of_client: usize,
    /// How long a client may take for the head of a request.
    pub head: Duration,
    /// How long a connection is kept open between requests: longer than proxies and clients keep theirs (a minute,
    /// mostly), as one that is closed just when it is used again loses the request.
    pub idle: Duration,
    /// The largest head in bytes, at least 8 KiB; larger is answered 431.
    pub head_bytes: usize,
    /// The most header lines; more is answered 431.
    pub headers: usize,
    /// How long a client may leave a response unread before it is disconnected. It must also read at a minimum rate.
    pub stall: Duration,
    /// How long running requests may take after the stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_of_client: 1024,
            head: Duration::from_secs(5),
            idle: Duration::from_secs(100),
            head_bytes: 32 * 1024,
            headers: 100,
            stall: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// Serves until the stop: then accepts no more, lets running requests finish, and returns when all connections
/// are closed or `limits.drain` is over. Streams have to end themselves at [`Lifecycle::stopping`].
/// Handlers find the client in `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, lifecycle: &Lifecycle, limits: Limits) {
    let slots = Slots::new(limits.connections, limits.connections_of_client);
    let refusal = Refusal::default();
    let (tracker, cut_off, stopping) = (TaskTracker::new(), CancellationToken::new(), lifecycle.stopping());
    let next = async || {
        let (stream, peer) = accept(|| listener.accept(), || slots.make_room()).await;
        // Until there is a slot, other clients wait in the system's queue.
        (slots.take(peer.ip().into(), &stopping).await, stream, peer)
    };
    while let Some((slot, stream, peer)) = stopping.run_until_cancelled(next()).await {
        // A child token: a connection checks it each time it wakes, and would contend for a shared one.
        let (cut_off, router, refusal) = (cut_off.child_token(), router.clone(), refusal.clone());
        // A panic ends only this connection; the panic hook logs and counts it.
        rt::spawn(tracker.track_future(async move {
            let served = async {
                match slot {
                    Ok(slot) => Connection { stream, peer, router, limits, slot }.run().await,
                    Err(TooMany) => refusal.send(stream, peer).await,
                }
            };
            cut_off.run_until_cancelled(served).await;
        }));
    }
    drop(listener);
    tracker.close();
    if rt::timeout(limits.drain, tracker.wait()).await.is_err() {
        tracing::warn!(
            connections = tracker.len(),
            "connections cut off: still busy at the end of the graceful stop"
        );
        cut_off.cancel();
        tracker.wait().await;
    }
}

/// The next connection. Where accepting fails because file descriptors or memory have run out, only room and waiting
/// help: giving up would end the service, and trying again at once would keep a core busy.
async fn accept<F>(mut accept: impl FnMut() -> F, make_room: impl Fn()) -> (TcpStream, SocketAddr)
where
    F: Future<Output = io::Result<(TcpStream, SocketAddr)>>,
{
    const LONGEST: Duration = Duration::from_secs(1);
    let mut pause = Duration::from_millis(5);
    loop {
        match accept().await {
            Ok(connection) => return connection,
            // That client has left; the next one has not.
            Err(error) if is_about_the_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, ?pause, "cannot accept connections");
                make_room();
                rt::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

fn is_about_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    #[tokio::test(start_paused = true)]
    async fn accepting_goes_on_after_any_error_without_spinning() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await;
        let emfile = || io::Error::from_raw_os_error(24);
        let mut script = vec![Err(io::ErrorKind::ConnectionAborted.into())];
        script.extend((0..20).map(|_| Err(emfile())));
        script.push(accepted);
        let script = RefCell::new(script.into_iter());

        let started = rt::Instant::now();
        let closed = Cell::new(0);
        accept(|| std::future::ready(script.borrow_mut().next().unwrap()), || closed.set(closed.get() + 1))
            .await;
        assert_eq!(closed.get(), 20, "each time one idle connection makes room");
        // 5 + 10 + … + 640 ms, then a second each for the other twelve.
        assert_eq!(started.elapsed().as_millis(), 1275 + 12 * 1000);
        assert!(script.borrow_mut().next().is_none());
    }
}
