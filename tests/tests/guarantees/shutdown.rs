//! The end of a stack, and its environment.

use shared::ServiceName::{EventBus, Query};
use std::time::Duration;
use system_tests::sse::Stream;
use system_tests::stack::listen;
use system_tests::{Setup, Stack};

#[tokio::test]
async fn everything_stops_in_order_within_seconds_though_readers_still_listen() {
    let mut stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Watched").await;
    blog.until_known(&post).await;
    let mut streams = Vec::new();
    for n in 0..6 {
        let place = if n % 2 == 0 { stack.front_door() } else { stack.at(Query) };
        streams.push(Stream::open(place.get("/live")).await);
    }
    let log = stack.at(EventBus).get("/events/stream").token(&stack.secret("OPERATOR_TOKEN"));
    streams.push(Stream::open(log).await);
    for stream in &mut streams {
        assert!(stream.next().await.is_some(), "each is open");
    }

    let ended = stack.interrupt().await;
    assert_eq!(ended.code, Some(0), "{}", stack.output());
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    for stream in &mut streams {
        while stream.next().await.is_some() {}
    }
    let output = stack.output();
    assert!(!output.contains("cut off") && !output.contains("not everything"), "{output}");

    stack.up().await;
    assert_eq!(stack.public_blog().read_post(&post).await["title"], "Watched");
    assert_eq!(stack.interrupt().await.code, Some(0));
}

#[tokio::test]
async fn a_proxy_that_the_environment_names_is_told_nothing() {
    let (proxy, address) = listen().await;
    let url = format!("http://{address}");
    let names = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    let setup = names.iter().fold(Setup::new(), |setup, name| setup.with_env(name, &url));
    let stack = setup.start().await;
    let blog = stack.public_blog();
    let post = blog.post("Between ourselves").await;
    blog.until_known(&post).await;
    blog.comment(&post, "and nobody else").await;
    blog.until_settled(&post, 1).await;
    assert_eq!(stack.front_door().get(&format!("/p/{post}")).send().await.status, 200);
    let proxy = proxy.into_std().expect("a port that can be asked");
    let asked = proxy.accept().map(|(_, from)| from);
    assert!(asked.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "{asked:?}");
}
