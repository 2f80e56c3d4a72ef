//! One client that tries to take everything: connections, memory, streams, the writer. Meanwhile visitors are served.
//!
//! A client is an address here: `127.0.0.2` and so on. Each service has the memory that its manifest grants. The visitor
//! comes before an attack, while it grows, and while it is at its height; each of its waits is bounded.

mod connections;
mod disk;
mod limits;
mod memory;
mod visitor;
mod writes;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use system_tests::{Setup, Stack, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Small, so that the kernel keeps little of an answer that is not read.
const RECEIVE_BUFFER: u32 = 16 * 1024;
/// How long an attacker waits for something before it goes on.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// A stack with its limits on.
async fn start(setup: Setup) -> Stack {
    raise_open_files();
    setup.with_env("RATE_LIMITS", "on").start().await
}

/// Each attack needs thousands of sockets.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("the limit can be raised");
}

/// A connection of the client `127.0.0.N`; nothing if it is refused.
async fn connect(n: u8, authority: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a size");
    socket.bind(SocketAddr::new(IpAddr::from([127, 0, 0, n]), 0)).expect("an address of this machine");
    let address = authority.parse().expect("an address");
    tokio::time::timeout(GIVE_UP_AFTER, socket.connect(address)).await.ok()?.ok()
}

/// Sends all of it, or as much as the server takes.
async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    // Whoever refuses does not read.
    if let Ok(Err(error)) = tokio::time::timeout(GIVE_UP_AFTER, stream.write_all(bytes)).await {
        assert!(is_closed(error.kind()), "{error}");
    }
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

/// The status of the answer, of which no more than a piece is read; 0 if there is none.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut piece = [0; 256];
    match tokio::time::timeout(GIVE_UP_AFTER, stream.read(&mut piece)).await {
        Ok(Ok(read)) => raw::status(&String::from_utf8_lossy(&piece[..read])),
        Ok(Err(error)) => {
            assert!(is_closed(error.kind()), "{error}");
            0
        }
        Err(_) => 0,
    }
}

/// A request without a body.
fn get(authority: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n").into_bytes()
}
