//! A TCP proxy that injects network faults.

use super::message::{self, Read};
use super::plan::NetworkFault;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How many bytes are forwarded at once.
const PIECE: usize = 16 * 1024;
/// The largest answer that is sent twice. Both copies go out in one piece: a later copy could be mistaken for the answer
/// to the next request, since HTTP/1 cannot tell whose it is.
const DOUBLED: usize = 4 * 1024;

/// Forwards every connection to one address, with the fault that is set. Dropping it stops accepting connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Option<NetworkFault>>,
    hit: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Listens on a free port and forwards from there.
    pub async fn start(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (fault, current) = watch::channel(None);
        let hit = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&hit);
        let accepting = tokio::spawn(async move {
            loop {
                // If the process is out of descriptors, the next attempt may succeed.
                let Ok((client, _)) = listener.accept().await else { continue };
                let connection = Connection { to, fault: current.clone(), hit: Arc::clone(&counter) };
                tokio::spawn(connection.forward(client));
            }
        });
        Ok(Self { address, fault, hit, accepting })
    }

    /// The address where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets a fault, or none.
    pub fn set(&self, fault: Option<NetworkFault>) {
        self.fault.send_replace(fault);
    }

    /// How many connections or exchanges a fault has hit so far.
    pub fn hit(&self) -> u64 {
        self.hit.load(Ordering::Relaxed)
    }
}

/// One connection.
struct Connection {
    to: SocketAddr,
    fault: watch::Receiver<Option<NetworkFault>>,
    hit: Arc<AtomicU64>,
}

/// Whether the connection continues.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    Ends,
}

impl Connection {
    async fn forward(mut self, mut client: TcpStream) {
        let mut server = None;
        // Small messages are sent at once, as the services do.
        let _ = client.set_nodelay(true);
        loop {
            let fault = *self.fault.borrow_and_update();
            let then = match fault {
                Some(NetworkFault::Cut) => {
                    self.count();
                    return;
                }
                Some(NetworkFault::Silence) => self.swallow(&mut client).await,
                None | Some(_) => {
                    let server = match &mut server {
                        Some(server) => server,
                        none => match TcpStream::connect(self.to).await {
                            Ok(stream) => none.insert(stream),
                            Err(_) => return,
                        },
                    };
                    let _ = server.set_nodelay(true);
                    match fault {
                        Some(twice @ (NetworkFault::RequestTwice | NetworkFault::AnswerTwice)) => {
                            self.twice(&mut client, server, twice == NetworkFault::RequestTwice).await
                        }
                        fault => self.pass(&mut client, server, fault).await,
                    }
                }
            };
            if then == Then::Ends {
                return;
            }
        }
    }

    fn count(&self) {
        self.hit.fetch_add(1, Ordering::Relaxed);
    }

    /// Forwards bytes until the fault changes or either end closes.
    async fn pass(
        &mut self,
        client: &mut TcpStream,
        server: &mut TcpStream,
        fault: Option<NetworkFault>,
    ) -> Then {
        let delay = match fault {
            Some(NetworkFault::Delay(delay)) => Some(delay),
            _ => None,
        };
        let mut left = match fault {
            Some(NetworkFault::CutAnswer(after)) => Some(after),
            _ => None,
        };
        let (mut asked, mut answered) = (vec![0; PIECE], vec![0; PIECE]);
        let mut counted = false;
        loop {
            tokio::select! {
                changed = self.fault.changed() => {
                    let now = *self.fault.borrow();
                    // A message may be underway, and only a whole one can be repeated.
                    let needs_a_start = matches!(now, Some(NetworkFault::RequestTwice | NetworkFault::AnswerTwice));
                    return if changed.is_err() || needs_a_start { Then::Ends } else { Then::GoesOn };
                }
                read = client.read(&mut asked) => {
                    let Some(read) = read.ok().filter(|n| *n > 0) else { return Then::Ends };
                    if let Some(delay) = delay {
                        if !std::mem::replace(&mut counted, true) {
                            self.count();
                        }
                        sleep(delay).await;
                    }
                    if server.write_all(&asked[..read]).await.is_err() {
                        return Then::Ends;
                    }
                }
                read = server.read(&mut answered) => {
                    let Some(mut read) = read.ok().filter(|n| *n > 0) else { return Then::Ends };
                    if let Some(delay) = delay {
                        sleep(delay).await;
                    }
                    if let Some(left) = &mut left {
                        read = read.min(*left);
                        *left -= read;
                    }
                    if client.write_all(&answered[..read]).await.is_err() {
                        return Then::Ends;
                    }
                    if left == Some(0) {
                        self.count();
                        return Then::Ends;
                    }
                }
            }
        }
    }

    /// Reads everything and sends nothing. What it has read cannot be forwarded later, so the connection ends then.
    async fn swallow(&mut self, client: &mut TcpStream) -> Then {
        self.count();
        let mut bytes = vec![0; PIECE];
        loop {
            tokio::select! {
                _ = self.fault.changed() => return Then::Ends,
                read = client.read(&mut bytes) => if read.ok().is_none_or(|n| n == 0) { return Then::Ends },
            }
        }
    }

    /// Forwards one exchange, with its request or its answer twice.
    async fn twice(&mut self, client: &mut TcpStream, server: &mut TcpStream, request_twice: bool) -> Then {
        let request = tokio::select! {
            // Another fault may begin between two exchanges.
            _ = self.fault.changed() => return Then::Ends,
            read = message::read(client) => match read {
                Read::Whole(request) => request,
                Read::Open(_) | Read::End => return Then::Ends,
            },
        };
        for _ in 0..u8::from(request_twice) {
            if server.write_all(&request).await.is_err() {
                return Then::Ends;
            }
            if !matches!(message::read(server).await, Read::Whole(_)) {
                return Then::Ends;
            }
        }
        if server.write_all(&request).await.is_err() {
            return Then::Ends;
        }
        match message::read(server).await {
            Read::Whole(mut answer) => {
                if request_twice {
                    self.count();
                } else if answer.len() <= DOUBLED {
                    answer.extend_from_within(..);
                    self.count();
                }
                if client.write_all(&answer).await.is_err() { Then::Ends } else { Then::GoesOn }
            }
            // A stream continues unchanged.
            Read::Open(beginning) => match client.write_all(&beginning).await {
                Ok(()) => self.pass(client, server, None).await,
                Err(_) => Then::Ends,
            },
            Read::End => Then::Ends,
        }
    }
}

#[cfg(test)]
mod tests;
