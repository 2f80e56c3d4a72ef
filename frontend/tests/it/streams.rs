//! Bodies that arrive in parts, in both directions.

use crate::world::{Behind, LIMIT};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// Reads until this text has arrived.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            let n = stream.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "the connection ended before {text:?}: {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..n]);
        }
    };
    timeout(LIMIT, read).await.unwrap_or_else(|_| panic!("{text:?} did not come"));
    String::from_utf8(seen).unwrap()
}

/// Notifies when it is dropped.
struct Gone(Arc<Notify>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn live(said: mpsc::Receiver<&'static str>, gone: Arc<Notify>) -> Router {
    let said = Arc::new(tokio::sync::Mutex::new(Some((said, gone))));
    Router::new().route(
        "/live",
        get(async move || {
            let (said, gone) = said.lock().await.take().unwrap();
            Sse::new(events(said, Gone(gone)))
        }),
    )
}

fn events(said: mpsc::Receiver<&'static str>, gone: Gone) -> impl Stream<Item = Result<Event, Infallible>> {
    futures_util::stream::unfold((said, gone), async |(mut said, gone)| {
        let text = said.recv().await?;
        Some((Ok(Event::default().event("change").id("7").data(text)), (said, gone)))
    })
}

#[tokio::test]
async fn each_event_of_a_stream_comes_at_once_and_the_service_notices_when_the_reader_leaves() {
    let (say, said) = mpsc::channel(4);
    let gone = Arc::new(Notify::new());
    let frontend = Behind { query: Some(live(said, gone.clone())), ..Behind::default() }.start().await;
    let mut reader = frontend.connect().await;
    reader
        .write_all(b"GET /live?post=1 HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n")
        .await
        .unwrap();
    let head = read_until(&mut reader, "\r\n\r\n").await.to_lowercase();
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    for text in ["one", "two", "three"] {
        say.send(text).await.unwrap();
        let event = read_until(&mut reader, "\n\n").await;
        assert!(event.contains("event: change") && event.contains(&format!("data: {text}")), "{event}");
    }
    drop(reader);
    timeout(LIMIT, gone.notified()).await.expect("the service notices");
}

#[tokio::test]
async fn streams_end_with_the_frontend() {
    let (say, said) = mpsc::channel(4);
    let frontend =
        Behind { query: Some(live(said, Arc::new(Notify::new()))), ..Behind::default() }.start().await;
    let mut reader = frontend.connect().await;
    reader.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    say.send("hello").await.unwrap();
    read_until(&mut reader, "data: hello").await;
    let started = tokio::time::Instant::now();
    frontend.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "it waited for the stream: {:?}", started.elapsed());
    let mut rest = Vec::new();
    timeout(LIMIT, reader.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_whose_client_leaves_is_given_up() {
    let (asked, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notify = (asked.clone(), gone.clone());
    let handler = async move || -> &'static str {
        let _gone = Gone(notify.1.clone());
        notify.0.notify_one();
        std::future::pending().await
    };
    let frontend = Behind::all(Router::new().route("/posts", get(handler))).start().await;
    let mut client = frontend.connect().await;
    client.write_all(b"GET /posts HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    timeout(LIMIT, asked.notified()).await.unwrap();
    drop(client);
    timeout(LIMIT, gone.notified()).await.expect("the service notices");
}

#[tokio::test]
async fn a_body_is_passed_on_while_it_comes() {
    let (arrived, mut arrivals) = mpsc::channel::<String>(16);
    let handler = async move |request: Request| {
        let length = request.headers().get("content-length").cloned();
        let mut body = request.into_body().into_data_stream();
        let mut size = 0;
        while let Some(Ok(chunk)) = body.next().await {
            size += chunk.len();
            arrived.send(String::from_utf8(chunk.to_vec()).unwrap()).await.unwrap();
        }
        format!("{size} {length:?}")
    };
    let frontend = Behind::all(Router::new().route("/posts/create", post(handler))).start().await;
    let mut client = frontend.connect().await;
    let head =
        "POST /posts/create HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    for text in ["first", "second"] {
        client.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.unwrap();
        let came = timeout(LIMIT, arrivals.recv()).await.expect("it is passed on before the end").unwrap();
        assert_eq!(came, text);
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut client, "11 None").await;
}

#[tokio::test]
async fn an_answer_is_passed_on_while_it_comes() {
    let (say, said) = mpsc::channel::<&'static str>(4);
    let said = Arc::new(tokio::sync::Mutex::new(Some(said)));
    let handler = async move || {
        let said = said.lock().await.take().unwrap();
        let chunks = futures_util::stream::unfold(said, async |mut said| {
            let text = said.recv().await?;
            Some((Ok::<_, Infallible>(text), said))
        });
        Body::from_stream(chunks)
    };
    let frontend = Behind::all(Router::new().route("/posts", get(handler))).start().await;
    let mut client = frontend.connect().await;
    client.write_all(b"GET /posts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    say.send("begin").await.unwrap();
    read_until(&mut client, "begin").await;
    say.send("go on").await.unwrap();
    read_until(&mut client, "go on").await;
    drop(say);
    read_until(&mut client, "0\r\n\r\n").await;
}
