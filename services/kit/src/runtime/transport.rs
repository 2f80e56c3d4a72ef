//! One way to send a request to another service.
//!
//! Delivery and relay know only the [`Transport`] trait, so that a test can put a simulated network there.

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

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made: the request has certainly not arrived.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The exchange took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than any answer expected.
    #[error("the answer is larger than any that is expected")]
    TooLarge,
    /// Anything else that went wrong on the way.
    #[error("the exchange failed: {0}")]
    Other(String),
}

/// The future of an exchange.
pub type Exchange<'a> =
    Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, TransportError>> + Send + 'a>>;

/// Sends a request and gives back the answer, whatever its status. Redirects are not followed.
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
    /// A client with its own pool of connections.
    pub fn new() -> Result<Self, TransportError> {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(EXCHANGE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // What the services say to each other is nobody else's, whatever the environment names as a proxy.
            .no_proxy()
            .pool_max_idle_per_host(4)
            .tcp_nodelay(true)
            .build()
            .map(|client| Self { client, max_answer_bytes: MAX_ANSWER_BYTES })
            .map_err(|e| TransportError::Other(describe(&e)))
    }

    /// The same, for larger answers: as large as this many bytes.
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

/// What an answer's `Retry-After` asks for, in its form of seconds.
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

/// The innermost cause: reqwest's own sentence repeats the address and leaves out the reason.
fn describe(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
