//! The stream of changes, through the front door.

use shared::ServiceName::Query;
use system_tests::sse::Stream;
use system_tests::{LIMIT, Stack, eventually, holds, processes};

#[tokio::test]
async fn the_live_stream_comes_through_at_once_and_goes_on_where_it_broke_off() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let door = stack.front_door();
    let open_at_first = processes::open_files(stack.pid(Query).expect("query runs"));
    let mut stream = Stream::open(door.get("/live")).await;
    let hello = stream.next().await.expect("a greeting");
    assert_eq!(hello.event, "hello");
    let mut posts = vec![blog.post("Seen live").await];
    let update = stream.until("the post", |event| event.event == "change").await;
    assert_eq!(update.json()["postId"], posts[0].as_str());
    drop(stream);

    for n in 0..3 {
        posts.push(blog.post(&format!("Missed {n}")).await);
        blog.until_known(&posts[n + 1]).await;
    }
    let mut resumed = Stream::open(door.get("/live").header("last-event-id", &update.id)).await;
    for missed in &posts[1..] {
        let event = resumed.until("what was missed", |event| event.event == "change").await;
        assert_eq!(event.json()["postId"], missed.as_str(), "in order, none left out: {:?}", resumed.seen());
        assert!(event.id > update.id);
    }
    // From the beginning, and for one post.
    let mut all = Stream::open(door.get("/live").header("last-event-id", "0")).await;
    all.until("the first post", |event| event.data.contains(&posts[0])).await;
    let mut one =
        Stream::open(door.get(&format!("/live?post={}", posts[3])).header("last-event-id", "0")).await;
    let event = one.until("its post", |event| event.event == "change").await;
    assert_eq!(event.json()["postId"], posts[3].as_str());
    door.get("/live").header("last-event-id", "never").send().await.expect_problem(400);
    door.get("/live?post=a%20b").send().await.expect_problem(400);

    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(Stream::open(door.get("/live")).await);
    }
    drop((crowd, resumed, all, one));
    eventually(LIMIT, "query sees that the readers have left", async || {
        let open = processes::open_files(stack.pid(Query).expect("query runs"));
        holds(open, |open| *open <= open_at_first + 10)
    })
    .await;
}

#[tokio::test]
async fn a_live_stream_outlasts_a_restart_of_the_reading_side() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let mut stream = Stream::open(stack.front_door().get("/live")).await;
    let hello = stream.next().await.expect("a greeting");
    stack.crash(Query).await;
    while stream.next().await.is_some() {}
    let post = blog.post("Written while nobody listened").await;
    eventually(LIMIT, "query answers again", async || {
        holds(stack.front_door().get("/posts").send().await.status, |status| *status == 200)
    })
    .await;
    let mut again = Stream::open(stack.front_door().get("/live").header("last-event-id", &hello.id)).await;
    let event = again.until("the post", |event| event.event == "change").await;
    assert_eq!(event.json()["postId"], post.as_str());
}
