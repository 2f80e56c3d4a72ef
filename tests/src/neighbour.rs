//! A subscriber that behaves well or badly, on a real socket.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How it behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// Answers 200 at once.
    Good,
    /// Answers 200 after this long.
    Slow(Duration),
    /// Takes the request and never answers.
    Hung,
    /// Answers what is no HTTP.
    Garbage,
    /// Answers 500.
    Failing,
    /// Sends whoever asks elsewhere.
    Redirecting(String),
    /// Begins a 200 whose body never ends.
    EndlessBody,
    /// Begins an answer whose headers never end.
    EndlessHead,
    /// Closes every connection at once.
    Away,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Taken {
    /// When it was there whole.
    pub at: Instant,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: String,
}

#[derive(Debug)]
struct Inner {
    manner: Mutex<Manner>,
    taken: Mutex<Vec<Taken>>,
    open: AtomicUsize,
}

/// The subscriber. It ends when it is dropped.
#[derive(Debug)]
pub struct Neighbour {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    inner: Arc<Inner>,
    listening: JoinHandle<()>,
}

impl Neighbour {
    /// One that behaves like this.
    pub async fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let inner = Inner { manner: Mutex::new(manner), taken: Mutex::default(), open: AtomicUsize::new(0) };
        let inner = Arc::new(inner);
        let listening = tokio::spawn(listen(listener, Arc::clone(&inner)));
        Self { url, inner, listening }
    }

    /// Behaves like this from now on.
    pub fn becomes(&self, manner: Manner) {
        *self.inner.manner() = manner;
    }

    /// What came so far, oldest first.
    pub fn taken(&self) -> Vec<Taken> {
        self.inner.taken().clone()
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Inner {
    fn manner(&self) -> std::sync::MutexGuard<'_, Manner> {
        self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(listener: TcpListener, inner: Arc<Inner>) {
    while let Ok((stream, _)) = listener.accept().await {
        let inner = Arc::clone(&inner);
        tokio::spawn(async move {
            inner.open.fetch_add(1, Ordering::Relaxed);
            // However the conversation ends: whoever speaks with it has to cope.
            let _ = converse(stream, &inner).await;
            inner.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn converse(stream: TcpStream, inner: &Inner) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while *inner.manner() != Manner::Away {
        let Some(taken) = request(&mut stream).await? else { return Ok(()) };
        inner.taken().push(taken);
        let manner = inner.manner().clone();
        let (status, more) = match manner {
            Manner::Good => ("200 OK", String::new()),
            Manner::Slow(wait) => {
                tokio::time::sleep(wait).await;
                ("200 OK", String::new())
            }
            Manner::Failing => ("500 Internal Server Error", String::new()),
            Manner::Redirecting(to) => ("302 Found", format!("location: {to}\r\n")),
            Manner::Garbage => {
                stream.write_all(b"\0\x01\xff no HTTP at all\r\n\r\n").await?;
                return Ok(());
            }
            Manner::Hung => {
                // Until the other side gives up.
                let _ = stream.read_u8().await;
                return Ok(());
            }
            Manner::EndlessBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                return without_end(&mut stream, &chunk).await;
            }
            Manner::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                let line = format!("x-more: {}\r\n", "x".repeat(1_000));
                return without_end(&mut stream, &line).await;
            }
            Manner::Away => return Ok(()),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{more}content-length: 2\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn without_end(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    loop {
        stream.write_all(text.as_bytes()).await?;
    }
}

/// Reads one request; nothing where the other side is done.
async fn request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Taken>> {
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
    Ok(Some(Taken { at: Instant::now(), path, body }))
}
