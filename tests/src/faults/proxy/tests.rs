//! Each network fault, observed from both ends.

use super::*;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);
const ASK: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi";

/// A server that counts requests and answers each with its number.
async fn server() -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let requests = Arc::clone(&requests);
            tokio::spawn(async move {
                while let Read::Whole(request) = message::read(&mut stream).await {
                    let number = {
                        let mut requests = requests.lock().unwrap();
                        requests.push(request);
                        requests.len()
                    };
                    let answer = answer(number);
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}

fn answer(number: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{number:04}").into_bytes()
}

async fn connected(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address).await.unwrap()
}

/// Everything that comes until the connection ends.
async fn to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A broken connection has ended, too.
    let _ = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("it ends");
    bytes
}

async fn exchange(stream: &mut TcpStream) -> Vec<u8> {
    stream.write_all(ASK).await.unwrap();
    match timeout(LIMIT, message::read(stream)).await.expect("an answer") {
        Read::Whole(answer) => answer,
        other => panic!("no answer but {other:?}"),
    }
}

#[tokio::test]
async fn it_carries_one_exchange_after_another() {
    let (address, heard) = server().await;
    let proxy = Proxy::start(address).await.unwrap();
    let mut stream = connected(&proxy).await;
    assert_eq!(exchange(&mut stream).await, answer(1));
    assert_eq!(exchange(&mut stream).await, answer(2));
    assert_eq!(*heard.lock().unwrap(), [ASK, ASK]);
    assert_eq!(proxy.hit(), 0);
}

#[tokio::test]
async fn a_cut_breaks_open_connections_and_refuses_new_ones_until_it_is_over() {
    let (address, heard) = server().await;
    let proxy = Proxy::start(address).await.unwrap();
    let mut open = connected(&proxy).await;
    exchange(&mut open).await;
    proxy.set(Some(NetworkFault::Cut));
    assert_eq!(to_the_end(&mut open).await, b"");
    assert_eq!(to_the_end(&mut connected(&proxy).await).await, b"");
    assert_eq!(heard.lock().unwrap().len(), 1);
    assert_eq!(proxy.hit(), 2);
    proxy.set(None);
    assert_eq!(exchange(&mut connected(&proxy).await).await, answer(2));
}

#[tokio::test]
async fn a_delay_delays_and_loses_nothing() {
    let (address, _) = server().await;
    let proxy = Proxy::start(address).await.unwrap();
    let delay = Duration::from_millis(60);
    proxy.set(Some(NetworkFault::Delay(delay)));
    let started = Instant::now();
    assert_eq!(exchange(&mut connected(&proxy).await).await, answer(1));
    assert!(started.elapsed() >= 2 * delay, "either way");
    assert_eq!(proxy.hit(), 1);
}

#[tokio::test]
async fn an_answer_is_cut_at_its_byte_after_the_request_has_arrived() {
    let (address, heard) = server().await;
    let proxy = Proxy::start(address).await.unwrap();
    proxy.set(Some(NetworkFault::CutAnswer(7)));
    let mut stream = connected(&proxy).await;
    stream.write_all(ASK).await.unwrap();
    assert_eq!(to_the_end(&mut stream).await, b"HTTP/1.");
    assert_eq!((heard.lock().unwrap().len(), proxy.hit()), (1, 1));
}

#[tokio::test]
async fn a_request_arrives_twice_and_the_second_answer_is_heard() {
    let (address, heard) = server().await;
    let proxy = Proxy::start(address).await.unwrap();
    // A connection that was open before is in an unknown state, so it ends.
    let mut before = connected(&proxy).await;
    exchange(&mut before).await;
    proxy.set(Some(NetworkFault::RequestTwice));
    assert_eq!(to_the_end(&mut before).await, b"");
    let mut stream = connected(&proxy).await;
    assert_eq!(exchange(&mut stream).await, answer(3));
    assert_eq!(exchange(&mut stream).await, answer(5));
    assert_eq!((heard.lock().unwrap().len(), proxy.hit()), (5, 2));
}

#[tokio::test]
async fn an_answer_comes_twice() {
    let (address, heard) = server().await;
    let proxy = Proxy::start(address).await.unwrap();
    proxy.set(Some(NetworkFault::AnswerTwice));
    let mut stream = connected(&proxy).await;
    stream.write_all(ASK).await.unwrap();
    let both = [answer(1), answer(1)].concat();
    let mut read = vec![0; both.len()];
    timeout(LIMIT, stream.read_exact(&mut read)).await.expect("both come").unwrap();
    assert_eq!(read, both);
    assert_eq!((heard.lock().unwrap().len(), proxy.hit()), (1, 1));
}

#[tokio::test]
async fn silence_takes_everything_and_answers_nothing_and_then_the_connection_is_lost() {
    let (address, heard) = server().await;
    let proxy = Proxy::start(address).await.unwrap();
    proxy.set(Some(NetworkFault::Silence));
    let mut stream = connected(&proxy).await;
    stream.write_all(ASK).await.unwrap();
    let answer_to_it = timeout(Duration::from_millis(100), message::read(&mut stream)).await;
    assert!(answer_to_it.is_err(), "{answer_to_it:?}");
    proxy.set(None);
    assert_eq!(to_the_end(&mut stream).await, b"");
    assert_eq!((heard.lock().unwrap().len(), proxy.hit()), (0, 1));
    assert_eq!(exchange(&mut connected(&proxy).await).await, answer(1));
}
