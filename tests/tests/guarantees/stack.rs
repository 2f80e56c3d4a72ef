//! The stack as a whole: its end, and its neighbours.

use shared::ServiceName::{EventBus, Query};
use std::time::Duration;
use system_tests::sse::Stream;
use system_tests::stack::said;
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
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", proxy.local_addr().expect("its address"));
    let names = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    let setup = names.iter().fold(Setup::new(), |setup, name| setup.with_env(name, &url));
    let stack = setup.start().await;
    let blog = stack.public_blog();
    let post = blog.post("Between ourselves").await;
    blog.until_known(&post).await;
    blog.comment(&post, "and nobody else").await;
    blog.until_settled(&post, 1).await;
    assert_eq!(stack.front_door().get(&format!("/p/{post}")).send().await.status, 200);
    proxy.set_nonblocking(true).expect("a port that can be asked");
    let asked = proxy.accept().map(|(_, from)| from);
    assert!(asked.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "{asked:?}");
}

#[tokio::test]
async fn a_data_folder_belongs_to_one_stack_at_a_time() {
    let stack = Stack::services().await;
    let before = stack.pids();
    let second = stack.second_up().await;
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("already"), "{}", said(&second));
    let post = stack.blog().post("The first one does not notice").await;
    stack.blog().until_known(&post).await;
    assert_eq!(stack.pids(), before);
}

#[tokio::test]
async fn two_stacks_live_beside_each_other() {
    let (one, other) = Stack::two().await;
    assert_ne!(one.secret("OPERATOR_TOKEN"), other.secret("OPERATOR_TOKEN"));
    let (mine, yours) = (one.blog(), other.blog());
    let (a, b) = (mine.post("In one").await, yours.post("In the other").await);
    mine.until_known(&a).await;
    yours.until_known(&b).await;
    mine.comment(&a, "here").await;
    mine.until_settled(&a, 1).await;
    assert!(mine.read_post(&b).await.is_null() && yours.read_post(&a).await.is_null());
    let stranger = other.at(EventBus).get("/events").token(&one.secret("OPERATOR_TOKEN")).send().await;
    stranger.expect_problem(401);
}
