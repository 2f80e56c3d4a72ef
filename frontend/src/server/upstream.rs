//! A service, as the reverse proxy reaches it: its replicas take turns ([`Addresses`]).

mod replica;

use axum::body::{Body, Bytes, HttpBody};
use http::{Request, Response};
use kit::runtime::addresses::{Addresses, may_repeat};
use replica::Replica;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("no connection in time")]
    ConnectTimeout,
    #[error("cannot connect")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    #[error("the exchange failed")]
    Exchange(#[from] hyper::Error),
    #[error("the answer was passed on already")]
    Taken,
    #[error("not an address")]
    Address(#[from] http::Error),
}

/// The body of an answer.
pub(super) enum Answer {
    /// All of it, as it arrived with the head.
    Whole(Bytes),
    Stream(Body),
}

impl Answer {
    pub(super) fn into_body(self) -> Body {
        match self {
            Self::Whole(bytes) => Body::from(bytes),
            Self::Stream(body) => body,
        }
    }
}

/// A service, as the reverse proxy reaches it. Clones share the connections.
#[derive(Clone)]
pub(super) struct Upstream(Arc<Replicas>);

struct Replicas {
    addresses: Addresses,
    /// In the order of the addresses.
    each: Vec<Arc<Replica>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.0.addresses.all()).finish()
    }
}

impl Upstream {
    /// The service at these addresses.
    pub(super) fn new(addresses: Addresses) -> Result<Self, UpstreamError> {
        let each = addresses.all().iter().map(|base| Replica::new(base).map(Arc::new));
        let each = each.collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Replicas { addresses, each })))
    }

    /// Forwards a request, and returns the answer as soon as its head is there. Dropping the future or the answer's body
    /// closes the connection, so that the service notices that nobody waits any more.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Answer>, UpstreamError> {
        let Replicas { addresses, each } = &*self.0;
        if let [only] = &each[..] {
            return only.send(request).await.map_err(|failed| failed.error);
        }
        let (head, mut body) = request.into_parts();
        // A body that is sent cannot be sent again, and reads have none.
        let may_repeat = may_repeat(&head.method, &head.headers) && body.is_end_stream();
        let mut last = UpstreamError::Taken;
        for number in addresses.for_request() {
            let failed = match each[number].send(Request::from_parts(head.clone(), body)).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if matches!(failed.error, UpstreamError::Connect(_) | UpstreamError::ConnectTimeout) {
                addresses.cannot_connect(number);
            }
            body = match failed.unsent {
                Some(unsent) => unsent,
                None if may_repeat => Body::empty(),
                None => return Err(failed.error),
            };
            last = failed.error;
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use http::Method;
    use http_body_util::BodyExt;
    use kit::rt;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use test_support::{LIMIT, eventually, in_time, ports};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    const KEY: &str = "idempotency-key";

    /// What a replica does with a request that it has read.
    #[derive(Clone, Copy)]
    enum Manner {
        /// Answers with its name.
        Answers(&'static str),
        /// Sends its name and never ends.
        Streams(&'static str),
        /// Closes the connection.
        Closes,
    }

    struct Server {
        base: String,
        requests: Arc<AtomicUsize>,
        task: rt::Task<()>,
    }

    impl Server {
        fn requests(&self) -> usize {
            self.requests.load(Ordering::SeqCst)
        }
    }

    async fn server(port: u16, manner: Manner) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let task = rt::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                if head.is_empty() {
                    continue;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let text = match manner {
                    Manner::Answers(name) => {
                        format!(
                            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{name}",
                            name.len()
                        )
                    }
                    Manner::Streams(name) => format!("HTTP/1.1 200 OK\r\n\r\n{name}"),
                    Manner::Closes => continue,
                };
                stream.write_all(text.as_bytes()).await.unwrap();
                if let Manner::Streams(_) = manner {
                    open.push(stream);
                }
            }
        });
        Server { base, requests, task }
    }

    fn upstream(bases: &[&str]) -> Upstream {
        Upstream::new(Addresses::new(&bases.join(","))).unwrap()
    }

    fn request(method: Method, body: &'static str) -> Request<Body> {
        let body = if body.is_empty() { Body::empty() } else { Body::from(body) };
        Request::builder().method(method).uri("/x").body(body).unwrap()
    }

    async fn ask(upstream: &Upstream, request: Request<Body>) -> Result<String, UpstreamError> {
        let answer = in_time("an answer", upstream.send(request)).await?;
        let body = to_bytes(answer.into_body().into_body(), 1_000).await.unwrap();
        Ok(String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn replicas_take_turns() {
        let (one, two) = (server(0, Manner::Answers("1")).await, server(0, Manner::Answers("2")).await);
        let upstream = upstream(&[&one.base, &two.base]);
        let mut answers = String::new();
        for _ in 0..4 {
            answers += &ask(&upstream, request(Method::GET, "")).await.unwrap();
        }
        assert_eq!(answers, "1212");
    }

    #[tokio::test]
    async fn what_one_replica_cannot_get_goes_to_the_next_until_it_is_back() {
        let [port] = ports::free(1)[..] else { unreachable!() };
        let sound = server(0, Manner::Answers("sound")).await;
        let upstream = upstream(&[&format!("http://127.0.0.1:{port}"), &sound.base]);
        for _ in 0..4 {
            assert_eq!(ask(&upstream, request(Method::POST, "once")).await.unwrap(), "sound");
        }
        let _back = server(port, Manner::Answers("back")).await;
        let is_back = async || ask(&upstream, request(Method::GET, "")).await.unwrap() == "back";
        eventually(LIMIT, "it takes requests again", is_back).await;
        sound.task.abort();
        let all = async || ask(&upstream, request(Method::POST, "once")).await.unwrap() == "back";
        eventually(LIMIT, "it takes all of them", all).await;
    }

    #[tokio::test]
    async fn without_a_replica_the_error_is_that_of_a_connection() {
        let bases: Vec<_> = ports::free(2).iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let upstream = upstream(&[&bases[0], &bases[1]]);
        for _ in 0..3 {
            let error = ask(&upstream, request(Method::GET, "")).await.unwrap_err();
            assert!(matches!(error, UpstreamError::Connect(_)), "{error}");
        }
        let _one = server(bases[0].rsplit_once(':').unwrap().1.parse().unwrap(), Manner::Answers("1")).await;
        // Although both are left out.
        assert_eq!(ask(&upstream, request(Method::POST, "once")).await.unwrap(), "1");
    }

    #[tokio::test]
    async fn what_may_have_been_processed_is_repeated_only_if_it_may_be() {
        let (broken, sound) = (server(0, Manner::Closes).await, server(0, Manner::Answers("sound")).await);
        let first_broken = || upstream(&[&broken.base, &sound.base]);
        assert_eq!(ask(&first_broken(), request(Method::GET, "")).await.unwrap(), "sound");
        let mut with_key = request(Method::POST, "");
        with_key.headers_mut().insert(KEY, "k".parse().unwrap());
        assert_eq!(ask(&first_broken(), with_key).await.unwrap(), "sound");
        assert_eq!((broken.requests(), sound.requests()), (2, 2));

        assert!(ask(&first_broken(), request(Method::POST, "once")).await.is_err());
        let mut with_body = request(Method::POST, "a body that is gone");
        with_body.headers_mut().insert(KEY, "k".parse().unwrap());
        assert!(ask(&first_broken(), with_body).await.is_err());
        assert_eq!((broken.requests(), sound.requests()), (4, 2));
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_leaves_no_address_out() {
        // Nobody accepts here: once the queue is full, connecting takes for ever.
        let full = TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = full.local_addr().unwrap();
        let _listener = full.listen(1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = rt::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        let sound = server(0, Manner::Answers("sound")).await;
        let upstream = upstream(&[&format!("http://{address}"), &sound.base]);
        let given_up = rt::timeout(Duration::from_millis(100), upstream.send(request(Method::GET, ""))).await;
        assert!(given_up.is_err());
        assert_eq!(upstream.0.addresses.for_request().collect::<Vec<_>>(), [1, 0]);
        assert_eq!(upstream.0.addresses.for_request().collect::<Vec<_>>(), [0, 1], "it has its turn");
    }

    #[tokio::test]
    async fn a_stream_stays_with_one_replica_and_the_next_one_is_anothers() {
        let (one, two) = (server(0, Manner::Streams("1")).await, server(0, Manner::Streams("2")).await);
        let upstream = upstream(&[&one.base, &two.base]);
        let mut streams = Vec::new();
        for expected in ["1", "2", "1"] {
            let answer = in_time("a stream", upstream.send(request(Method::GET, ""))).await.unwrap();
            let mut body = answer.into_body().into_body();
            let frame = in_time("its beginning", body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected);
            streams.push(body);
        }
        one.task.abort();
        let mut broken = streams.remove(0);
        assert!(in_time("the end of the first", broken.frame()).await.is_none_or(|frame| frame.is_err()));
        for _ in 0..3 {
            let answer = in_time("a stream", upstream.send(request(Method::GET, ""))).await.unwrap();
            let mut body = answer.into_body().into_body();
            assert_eq!(
                in_time("its beginning", body.frame()).await.unwrap().unwrap().into_data().unwrap(),
                "2"
            );
        }
    }
}
