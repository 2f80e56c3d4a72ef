//! Requests to other services.
//!
//! Delivery and relay use only the [`Transport`] trait, so that a test can pass in a simulated network.

use bytes::{Bytes, BytesMut};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a whole exchange may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer that are read: acknowledgements are short, and a hostile one is endless.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The longest `Retry-After` that the bus and the services obey: a peer that names a year is at fault.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made: the request has certainly not arrived.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The exchange took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than any expected answer.
    #[error("the answer is too large")]
    TooLarge,
    /// Any other failure of the exchange.
    #[error("the exchange failed: {0}")]
    Other(String),
}

/// The future of an exchange.
pub type Exchange<'a> =
    Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, TransportError>> + Send + 'a>>;

/// Sends a request and returns the answer, whatever its status. Redirects are not followed.
pub trait Transport: Send + Sync + 'static {
    /// One exchange; bounded in time and size.
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_>;
}

/// HTTP over TCP.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    max_answer_bytes: usize,
}

impl HttpTransport {
    /// A client with its own connection pool.
    pub fn new() -> Result<Self, TransportError> {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(EXCHANGE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // Traffic between the services is private: no proxy from the environment.
            .no_proxy()
            .pool_max_idle_per_host(4)
            .tcp_nodelay(true)
            .build()
            .map(|client| Self { client, max_answer_bytes: MAX_ANSWER_BYTES })
            .map_err(|e| TransportError::Other(describe(&e)))
    }

    /// The same client for answers of up to this many bytes.
    pub fn with_answers_up_to(self, max_answer_bytes: usize) -> Self {
        Self { max_answer_bytes, ..self }
    }

    async fn exchange(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, TransportError> {
        let request = request.try_into().map_err(|e: reqwest::Error| TransportError::Other(describe(&e)))?;
        let mut response = self.client.execute(request).await.map_err(|e| classify(&e))?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| classify(&e))? {
            if body.len() + chunk.len() > self.max_answer_bytes {
                return Err(TransportError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = http::Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
        Box::pin(self.exchange(request))
    }
}

/// The `Retry-After` of an answer, if it is in seconds. Not capped: see [`LONGEST_RETRY_AFTER`].
pub fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn classify(error: &reqwest::Error) -> TransportError {
    if error.is_connect() {
        TransportError::Connect(describe(error))
    } else if error.is_timeout() {
        TransportError::Timeout
    } else {
        TransportError::Other(describe(error))
    }
}

/// The root cause: reqwest's own message repeats the address and leaves out the reason.
fn describe(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
