//! The connections to one replica of a service.
//!
//! Connections are kept and used again. A request and the body of its answer drive their connection themselves, in the
//! task of the reader's own connection: with a task for each connection, every request would wake another task, and
//! every answer wake it back. An answer that arrives whole with its head is passed on as bytes, and its connection is
//! free before the first byte goes to the reader.

use super::{Answer, UpstreamError};
use axum::body::{Body, Bytes, HttpBody};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, Uri, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::{TrySendError, http1};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use kit::rt::{self, Instant};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::Service;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than the services' own limit, so that no connection is used that is just being closed.
const IDLE: Duration = Duration::from_secs(3);
/// What is read at once, which is also the longest head of an answer: what is kept for a slow reader.
const BUFFER: usize = 64 * 1024;

/// How the system finds out that a service's machine is gone, although a stream from it is silent.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long the system repeats what a service does not acknowledge.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// One address, and the connections to it.
pub(super) struct Replica {
    base: Uri,
    /// For requests that name no host.
    host: HeaderValue,
    /// What the paths of the service begin with; mostly nothing.
    prefix: String,
    connector: HttpConnector,
    idle_for: Duration,
    idle: Mutex<Idle>,
}

/// A request without an answer.
pub(super) struct Failed {
    pub error: UpstreamError,
    /// Its body, if nothing of the request was sent.
    pub unsent: Option<Body>,
}

impl From<UpstreamError> for Failed {
    fn from(error: UpstreamError) -> Self {
        Self { error, unsent: None }
    }
}

/// The connections that are not in use, the one that was used last at the end.
#[derive(Default)]
struct Idle {
    connections: Vec<(Instant, Box<Connection>)>,
    /// Whether a task closes those that nobody uses.
    is_watched: bool,
}

impl Replica {
    pub(super) fn new(base: &str) -> Result<Self, UpstreamError> {
        let base: Uri = base.parse().map_err(http::Error::from)?;
        let host = base.authority().map_or("", Authority::as_str);
        let host = HeaderValue::from_str(host).map_err(http::Error::from)?;
        let prefix = base.path().trim_end_matches('/').to_owned();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE));
        connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        #[cfg(target_os = "linux")]
        connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        Ok(Self { base, host, prefix, connector, idle_for: IDLE, idle: Mutex::default() })
    }

    pub(super) async fn send(self: &Arc<Self>, request: Request<Body>) -> Result<Response<Answer>, Failed> {
        let mut request = self.addressed(request)?;
        while let Some(mut connection) = self.take().await {
            match connection.exchange(request).await {
                Ok(answer) => return Ok(self.answer(connection, answer).await),
                // The service has closed the connection before any of the request was written.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(UpstreamError::from(error.into_error()).into()),
                },
            }
        }
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return Err(Failed { error, unsent: Some(request.into_body()) }),
        };
        match connection.exchange(request).await {
            Ok(answer) => Ok(self.answer(connection, answer).await),
            Err(mut error) => {
                let unsent = error.take_message().map(Request::into_body);
                Err(Failed { error: error.into_error().into(), unsent })
            }
        }
    }

    /// The same request with a path and a host, as a service expects it.
    fn addressed(&self, mut request: Request<Body>) -> Result<Request<Body>, UpstreamError> {
        let (uri, prefix) = (request.uri(), &self.prefix);
        if uri.authority().is_some() || !prefix.is_empty() {
            let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
            let path = PathAndQuery::try_from(format!("{prefix}{path}")).map_err(http::Error::from)?;
            *request.uri_mut() = path.into();
        }
        request.headers_mut().entry(header::HOST).or_insert_with(|| self.host.clone());
        Ok(request)
    }

    async fn connect(&self) -> Result<Box<Connection>, UpstreamError> {
        let mut connector = self.connector.clone();
        let connecting = rt::timeout(CONNECT_TIMEOUT, connector.call(self.base.clone())).await;
        let stream = connecting.map_err(|_| UpstreamError::ConnectTimeout)?;
        let stream = stream.map_err(|error| UpstreamError::Connect(error.into()))?;
        let (sender, driver) = http1::Builder::new().max_buf_size(BUFFER).handshake(stream).await?;
        Ok(Box::new(Connection { sender, driver: Some(driver) }))
    }

    async fn answer(
        self: &Arc<Self>,
        connection: Box<Connection>,
        answer: Response<Incoming>,
    ) -> Response<Answer> {
        let (head, incoming) = answer.into_parts();
        let replica = Arc::clone(self);
        let mut body = AnswerBody { first: None, incoming, connection: Some(connection), replica };
        // Of most answers everything is there.
        let first = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
        let body = match first {
            Poll::Ready(None) => Answer::Whole(Bytes::new()),
            Poll::Ready(Some(Ok(frame))) if body.incoming.is_end_stream() && frame.is_data() => {
                Answer::Whole(frame.into_data().unwrap_or_default())
            }
            Poll::Ready(first) => {
                body.first = first;
                Answer::Stream(Body::new(body))
            }
            Poll::Pending => Answer::Stream(Body::new(body)),
        };
        Response::from_parts(head, body)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is open as far as this side knows.
    async fn take(&self) -> Option<Box<Connection>> {
        loop {
            let (since, mut connection) = self.idle().connections.pop()?;
            let is_open = since.elapsed() < self.idle_for;
            if is_open && std::future::poll_fn(|cx| Poll::Ready(connection.is_open(cx))).await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request.
    fn keep(self: &Arc<Self>, connection: Box<Connection>) {
        let mut idle = self.idle();
        idle.connections.push((Instant::now(), connection));
        if !idle.is_watched {
            idle.is_watched = true;
            rt::spawn(close_unused(Arc::downgrade(self), self.idle_for));
        }
    }
}

/// Closes the connections that nobody has used for so long, until there is none.
async fn close_unused(replica: Weak<Replica>, idle_for: Duration) {
    loop {
        rt::sleep(idle_for).await;
        let Some(replica) = replica.upgrade() else { return };
        let mut idle = replica.idle();
        let unused = idle.connections.partition_point(|(since, _)| since.elapsed() >= idle_for);
        idle.connections.drain(..unused);
        if idle.connections.is_empty() {
            idle.is_watched = false;
            return;
        }
    }
}

/// A connection, and the requests for it.
struct Connection {
    sender: http1::SendRequest<Body>,
    /// Nothing once it has ended.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Body>>,
}

impl Connection {
    /// Reads and writes what can be read and written. Its errors are those of the request or of the answer's body, too.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
            // A request that it has not begun to write comes back.
            self.driver = None;
        }
    }

    /// Whether it can take a request.
    fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.driver.is_some() && self.sender.is_ready()
    }

    async fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(cx)
        })
        .await
    }
}

/// The body of an answer. At its end the connection is kept for another request; before, it is closed.
struct AnswerBody {
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    incoming: Incoming,
    connection: Option<Box<Connection>>,
    replica: Arc<Replica>,
}

impl AnswerBody {
    fn ended(&mut self, cx: &mut Context<'_>) {
        if let Some(mut connection) = self.connection.take()
            && connection.is_open(cx)
        {
            self.replica.keep(connection);
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Some(connection) = &mut self.connection {
            connection.drive(cx);
        }
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if frame.is_none() || self.incoming.is_end_stream() {
            self.ended(cx);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.size_hint();
        let first = self.first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref());
        match (first, rest.exact()) {
            (Some(first), Some(rest)) => SizeHint::with_exact(rest + first.len() as u64),
            _ => rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use http_body_util::BodyExt;
    use test_support::{LIMIT, eventually};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::{Notify, mpsc};

    /// Larger than what is read at once.
    const LARGE: usize = 5 * BUFFER;

    /// What a service does with a connection.
    #[derive(Clone)]
    enum Manner {
        /// Answers each request with so many times the number of the connection.
        Repeats(usize),
        /// Answers one request, and closes when it is notified.
        Closes(Arc<Notify>),
        /// Closes in the middle of an answer.
        BreaksOff,
    }

    /// A service that sends the number of each connection that it sees closed.
    async fn service(manner: Manner) -> (Arc<Replica>, mpsc::UnboundedReceiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let replica = Replica::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (closed, seen) = mpsc::unbounded_channel();
        rt::spawn(async move {
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (closed, manner) = (closed.clone(), manner.clone());
                rt::spawn(async move {
                    serve(stream, number, manner).await;
                    let _ = closed.send(number);
                });
            }
        });
        (Arc::new(replica), seen)
    }

    async fn serve(mut stream: TcpStream, number: usize, manner: Manner) {
        let mut head = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            head.push(byte);
            if !head.ends_with(b"\r\n\r\n") {
                continue;
            }
            head.clear();
            let body = number.to_string().repeat(if let Manner::Repeats(times) = manner { times } else { 1 });
            let length = if let Manner::BreaksOff = manner { 2 } else { body.len() };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            let written = stream.write_all(answer.as_bytes()).await;
            match &manner {
                Manner::Repeats(_) if written.is_ok() => {}
                Manner::Closes(now) => return now.notified().await,
                _ => return,
            }
        }
    }

    async fn ask(replica: &Arc<Replica>) -> Response<Body> {
        replica.send(Request::new(Body::empty())).await.ok().unwrap().map(Answer::into_body)
    }

    async fn text(answer: Response<Body>) -> String {
        String::from_utf8(to_bytes(answer.into_body(), usize::MAX).await.unwrap().into()).unwrap()
    }

    #[tokio::test]
    async fn a_connection_is_used_again_once_its_answer_is_read() {
        for times in [0, 1, LARGE] {
            let (replica, _closed) = service(Manner::Repeats(times)).await;
            for _ in 0..3 {
                assert_eq!(text(ask(&replica).await).await, "1".repeat(times));
            }
        }
    }

    #[tokio::test]
    async fn a_small_answer_frees_its_connection_at_once_and_a_large_one_at_its_end() {
        let (replica, _closed) = service(Manner::Repeats(1)).await;
        let held = [ask(&replica).await, ask(&replica).await];
        for answer in held {
            assert_eq!(text(answer).await, "1");
        }
        let (replica, _closed) = service(Manner::Repeats(LARGE)).await;
        let (first, second) = (ask(&replica).await, ask(&replica).await);
        assert_eq!(text(second).await, "2".repeat(LARGE));
        assert_eq!(text(first).await, "1".repeat(LARGE));
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_to_its_end_closes_its_connection() {
        let (replica, mut closed) = service(Manner::Repeats(LARGE)).await;
        let mut answer = ask(&replica).await.into_body();
        answer.frame().await.unwrap().unwrap();
        drop(answer);
        let ended = rt::timeout(LIMIT, closed.recv()).await.expect("the service notices");
        assert_eq!(ended, Some(1));
        assert_eq!(text(ask(&replica).await).await, "2".repeat(LARGE));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_not_taken_for_the_whole() {
        let (replica, _closed) = service(Manner::BreaksOff).await;
        let answer = ask(&replica).await.into_body();
        assert!(to_bytes(answer, 100).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_the_service_has_closed_takes_no_request() {
        let close = Arc::new(Notify::new());
        let (replica, _closed) = service(Manner::Closes(Arc::clone(&close))).await;
        assert_eq!(text(ask(&replica).await).await, "1");
        let mut connection = replica.take().await.expect("it may be used again");
        close.notify_one();
        eventually(LIMIT, "the end of the connection arrives", async || {
            let is_open = std::future::poll_fn(|cx| Poll::Ready(connection.is_open(cx))).await;
            if is_open { Err("it is open".to_owned()) } else { Ok(()) }
        })
        .await;
        let request = replica.addressed(Request::new(Body::empty())).unwrap();
        let mut refused = connection.exchange(request).await.unwrap_err();
        assert!(refused.take_message().is_some(), "nothing of the request was sent");
        // As if the end had arrived just after it was taken.
        replica.keep(connection);
        assert_eq!(text(ask(&replica).await).await, "2");
    }

    #[tokio::test]
    async fn connections_that_nobody_uses_are_closed() {
        let (mut replica, mut closed) = service(Manner::Repeats(1)).await;
        Arc::get_mut(&mut replica).unwrap().idle_for = Duration::from_millis(20);
        for number in 1..=3 {
            assert_eq!(text(ask(&replica).await).await, number.to_string());
            let ended = rt::timeout(LIMIT, closed.recv()).await.expect("the service sees it closed");
            assert_eq!(ended, Some(number));
        }
    }

    #[test]
    fn a_request_has_a_path_and_a_host() {
        let addressed = |base: &str, uri: &str, host: Option<&str>| {
            let mut request = Request::get(uri);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            let request =
                Replica::new(base).unwrap().addressed(request.body(Body::empty()).unwrap()).unwrap();
            (request.uri().to_string(), request.headers()[header::HOST].to_str().unwrap().to_owned())
        };
        let is = |uri: &str, host: &str| (uri.to_owned(), host.to_owned());
        let base = "http://query:4002";
        assert_eq!(addressed(base, "/posts?limit=1", Some("posts.com")), is("/posts?limit=1", "posts.com"));
        assert_eq!(addressed(base, "/posts", None), is("/posts", "query:4002"));
        assert_eq!(addressed(base, "http://posts.com/a?b", Some("posts.com")), is("/a?b", "posts.com"));
        assert_eq!(addressed("http://all/blog/", "/posts", None), is("/blog/posts", "all"));
    }
}
