//! Servers and clients for the tests of this crate.

use kit::runtime::lifecycle::Lifecycle;
use std::future::Future;
use std::net::SocketAddr;
pub use test_support::raw::Connection as Raw;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Waits for something that has to happen.
pub async fn eventually<F: Future>(future: F) -> F::Output {
    test_support::in_time("what the test waits for", future).await
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
