//! A network that misbehaves when it is told to: TCP connections carried from one end to the other.

use super::message::{self, Read};
use super::plan::Trouble;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The bytes that are carried at once.
const PIECE: usize = 16 * 1024;
/// The largest answer that comes twice. Both copies go out in one piece: a second one that came later could be taken
/// for the answer to the next request, and HTTP/1 has nothing to tell them apart by.
const DOUBLED: usize = 4 * 1024;

/// Carries every connection to one address, as well or as badly as it is told. Dropping it takes no new ones.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    trouble: watch::Sender<Option<Trouble>>,
    hit: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Listens on a port of its own and carries what comes there.
    pub async fn start(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (trouble, told) = watch::channel(None);
        let hit = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&hit);
        let accepting = tokio::spawn(async move {
            loop {
                // Where the system is out of descriptors the next attempt may do better.
                let Ok((client, _)) = listener.accept().await else { continue };
                let road = Road { to, trouble: told.clone(), hit: Arc::clone(&counter) };
                tokio::spawn(road.carry(client));
            }
        });
        Ok(Self { address, trouble, hit, accepting })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Misbehaves from now on, or behaves again.
    pub fn set(&self, trouble: Option<Trouble>) {
        self.trouble.send_replace(trouble);
    }

    /// How many connections or exchanges have met with trouble so far.
    pub fn hit(&self) -> u64 {
        self.hit.load(Ordering::Relaxed)
    }
}

/// One connection.
struct Road {
    to: SocketAddr,
    trouble: watch::Receiver<Option<Trouble>>,
    hit: Arc<AtomicU64>,
}

/// Whether the connection goes on.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    Ends,
}

impl Road {
    async fn carry(mut self, mut client: TcpStream) {
        let mut server = None;
        // What is small is sent at once, as the services themselves do.
        let _ = client.set_nodelay(true);
        loop {
            let trouble = *self.trouble.borrow_and_update();
            let then = match trouble {
                Some(Trouble::Cut) => {
                    self.count();
                    return;
                }
                Some(Trouble::Silence) => self.swallow(&mut client).await,
                None | Some(_) => {
                    let server = match &mut server {
                        Some(server) => server,
                        none => match TcpStream::connect(self.to).await {
                            Ok(stream) => none.insert(stream),
                            Err(_) => return,
                        },
                    };
                    let _ = server.set_nodelay(true);
                    match trouble {
                        Some(twice @ (Trouble::RequestTwice | Trouble::AnswerTwice)) => {
                            self.twice(&mut client, server, twice == Trouble::RequestTwice).await
                        }
                        trouble => self.pass(&mut client, server, trouble).await,
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

    /// Carries bytes until the trouble changes or either end closes.
    async fn pass(
        &mut self,
        client: &mut TcpStream,
        server: &mut TcpStream,
        trouble: Option<Trouble>,
    ) -> Then {
        let delay = match trouble {
            Some(Trouble::Delay(delay)) => Some(delay),
            _ => None,
        };
        let mut left = match trouble {
            Some(Trouble::CutAnswer(after)) => Some(after),
            _ => None,
        };
        let (mut asked, mut answered) = (vec![0; PIECE], vec![0; PIECE]);
        let mut counted = false;
        loop {
            tokio::select! {
                changed = self.trouble.changed() => {
                    let now = *self.trouble.borrow();
                    // Nobody knows whether a message is underway, and twice means a whole one.
                    let needs_a_start = matches!(now, Some(Trouble::RequestTwice | Trouble::AnswerTwice));
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

    /// Takes whatever is sent and says nothing. What was swallowed cannot be carried later: then the connection ends.
    async fn swallow(&mut self, client: &mut TcpStream) -> Then {
        self.count();
        let mut bytes = vec![0; PIECE];
        loop {
            tokio::select! {
                _ = self.trouble.changed() => return Then::Ends,
                read = client.read(&mut bytes) => if read.ok().is_none_or(|n| n == 0) { return Then::Ends },
            }
        }
    }

    /// Carries one exchange, its request or its answer twice.
    async fn twice(&mut self, client: &mut TcpStream, server: &mut TcpStream, request_twice: bool) -> Then {
        let request = tokio::select! {
            // Between two exchanges any trouble may begin.
            _ = self.trouble.changed() => return Then::Ends,
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
            // A stream goes on as it is.
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
