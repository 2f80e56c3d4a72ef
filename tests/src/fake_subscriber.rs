//! A subscriber made by a test, on a real socket: good, slow, silent or hostile.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers 200 at once.
    Good,
    /// Answers 200 after this long.
    Slow(Duration),
    /// Reads the request and never answers.
    Hung,
    /// Answers something that is not HTTP.
    Garbage,
    /// Answers 500.
    Failing,
    /// Answers 302 with this location.
    Redirecting(String),
    /// Answers 200 with a body that never ends.
    EndlessBody,
    /// Answers with headers that never end.
    EndlessHead,
    /// Closes every connection at once.
    Away,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// When all of it had arrived.
    pub at: Instant,
    /// The path.
    pub path: String,
    /// The body.
    pub body: String,
}

#[derive(Debug)]
struct Inner {
    behaviour: Mutex<Behaviour>,
    received: Mutex<Vec<Received>>,
    open: AtomicUsize,
}

/// The subscriber. Dropping it ends it.
#[derive(Debug)]
pub struct FakeSubscriber {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    inner: Arc<Inner>,
    listening: JoinHandle<()>,
}

impl FakeSubscriber {
    /// Listens on a free port.
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let inner =
            Inner { behaviour: Mutex::new(behaviour), received: Mutex::default(), open: AtomicUsize::new(0) };
        let inner = Arc::new(inner);
        let listening = tokio::spawn(listen(listener, Arc::clone(&inner)));
        Self { url, inner, listening }
    }

    /// Changes its behaviour.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        *self.inner.behaviour() = behaviour;
    }

    /// Every request so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received().clone()
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed)
    }
}

impl Drop for FakeSubscriber {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Inner {
    fn behaviour(&self) -> std::sync::MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self) -> std::sync::MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(listener: TcpListener, inner: Arc<Inner>) {
    while let Ok((stream, _)) = listener.accept().await {
        let inner = Arc::clone(&inner);
        tokio::spawn(async move {
            inner.open.fetch_add(1, Ordering::Relaxed);
            // An error of the connection is the bus's to handle.
            let _ = serve(stream, &inner).await;
            inner.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn serve(stream: TcpStream, inner: &Inner) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while *inner.behaviour() != Behaviour::Away {
        let Some(received) = request(&mut stream).await? else { return Ok(()) };
        inner.received().push(received);
        let behaviour = inner.behaviour().clone();
        let (status, more) = match behaviour {
            Behaviour::Good => ("200 OK", String::new()),
            Behaviour::Slow(wait) => {
                tokio::time::sleep(wait).await;
                ("200 OK", String::new())
            }
            Behaviour::Failing => ("500 Internal Server Error", String::new()),
            Behaviour::Redirecting(to) => ("302 Found", format!("location: {to}\r\n")),
            Behaviour::Garbage => {
                stream.write_all(b"\0\x01\xff not HTTP at all\r\n\r\n").await?;
                return Ok(());
            }
            Behaviour::Hung => {
                // Until the bus gives up.
                let _ = stream.read_u8().await;
                return Ok(());
            }
            Behaviour::EndlessBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                return send_for_ever(&mut stream, &chunk).await;
            }
            Behaviour::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                let line = format!("x-more: {}\r\n", "x".repeat(1_000));
                return send_for_ever(&mut stream, &line).await;
            }
            Behaviour::Away => return Ok(()),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{more}content-length: 2\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn send_for_ever(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    loop {
        stream.write_all(text.as_bytes()).await?;
    }
}

/// Reads one request; nothing once the bus has closed the connection.
async fn request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Received>> {
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if path.is_empty() {
            line.split(' ').nth(1).unwrap_or_default().clone_into(&mut path);
        } else if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Received { at: Instant::now(), path, body }))
}
