//! The graceful stop: nothing is lost, and nothing holds it up.

use crate::support::{Raw, eventually};
use crate::{sse, start, start_service, ticks};
use axum::Router;
use axum::routing::get;
use futures_util::StreamExt;
use kit::http::server::Limits;
use kit::runtime::lifecycle::Lifecycle;
use reqwest::Client;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

#[tokio::test]
async fn the_stop_ends_open_streams_and_idle_connections_at_once() {
    let lifecycle = Lifecycle::new();
    let stopping = lifecycle.stopping();
    let events = async move || sse(ticks(Duration::from_secs(3600)).take_until(stopping.cancelled_owned()));
    let server = start_service(Router::new().route("/live", get(events)), lifecycle).await;

    let client = Client::new();
    let mut live = client.get(server.url("/live")).send().await.unwrap();
    assert_eq!(live.chunk().await.unwrap().unwrap(), "data: tick\n\n");
    let _silent = Raw::connect(server.address).await;
    let mut idle = Raw::connect(server.address).await;
    idle.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    idle.read_until("ok").await;

    let begun = Instant::now();
    server.lifecycle.stop();
    assert_eq!(eventually(live.chunk()).await.unwrap(), None, "the stream ends, it does not break");
    assert_eq!(server.stop().await, Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_stop_lets_a_running_request_finish_and_takes_no_new_one() {
    let (entered, mut inside) = mpsc::channel(1);
    let (release, released) = tokio::sync::watch::channel(false);
    let slow = async move || {
        entered.send(()).await.unwrap();
        released.clone().wait_for(|go| *go).await.unwrap();
        "finished"
    };
    let server = start(Router::new().route("/slow", get(slow)), Limits::default()).await;
    let running = tokio::spawn(Client::new().get(server.url("/slow")).send());
    eventually(inside.recv()).await.unwrap();

    server.lifecycle.stop();
    let address = server.address;
    let refused = async || {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    eventually(refused()).await;
    release.send(true).unwrap();
    assert_eq!(running.await.unwrap().unwrap().text().await.unwrap(), "finished");
    server.stop().await;
}

#[tokio::test]
async fn the_stop_does_not_wait_for_ever() {
    let (entered, mut inside) = mpsc::channel(1);
    let stuck = async move || {
        entered.send(()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let server = start(Router::new().route("/stuck", get(stuck)), limits).await;
    let running = tokio::spawn(Client::new().get(server.url("/stuck")).send());
    eventually(inside.recv()).await.unwrap();
    server.stop().await;
    assert!(running.await.unwrap().is_err());
}
