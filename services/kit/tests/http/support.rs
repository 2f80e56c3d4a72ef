//! Servers and clients for the tests of this crate.

use kit::runtime::lifecycle::Lifecycle;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Waits for something that has to happen. The limit is for the slowest machine.
pub async fn eventually<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it never happened")
}

/// A server on a port of its own.
pub struct Running<T> {
    pub address: SocketAddr,
    pub lifecycle: Lifecycle,
    served: JoinHandle<T>,
}

impl<T: Send + 'static> Running<T> {
    pub async fn start<F, Fut>(serve: F) -> Self
    where
        F: FnOnce(TcpListener, Lifecycle) -> Fut,
        Fut: Future<Output = T> + Send + 'static,
    {
        Self::with(Lifecycle::new(), serve).await
    }

    pub async fn with<F, Fut>(lifecycle: Lifecycle, serve: F) -> Self
    where
        F: FnOnce(TcpListener, Lifecycle) -> Fut,
        Fut: Future<Output = T> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(serve(listener, lifecycle.clone()));
        Self { address, lifecycle, served }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops it and waits until it has ended.
    pub async fn stop(self) -> T {
        self.lifecycle.stop();
        eventually(self.served).await.unwrap()
    }
}

/// A client that sends exact bytes.
pub struct Raw(TcpStream);

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Everything until the server closes.
    pub async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        eventually(self.0.read_to_end(&mut all)).await.unwrap();
        String::from_utf8(all).unwrap()
    }

    /// Reads until this text has arrived.
    pub async fn read_until(&mut self, end: &str) {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(end) {
            all.push(eventually(self.0.read_u8()).await.unwrap());
        }
    }

    /// Whether the server sends nothing for this long.
    pub async fn is_silent_for(&mut self, span: Duration) -> bool {
        tokio::time::timeout(span, self.0.read_u8()).await.is_err()
    }
}
