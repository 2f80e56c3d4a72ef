//! Changes that readers do not see, and failures that operators do not see.

use serde_json::json;
use shared::ServiceName::{Comments, EventBus, Moderation, Posts, Query};
use system_tests::sse::Stream;
use system_tests::{LIMIT, Stack, eventually, holds};

/// 10. Nothing refreshes after a submit.
#[tokio::test]
async fn what_was_submitted_is_on_the_next_page_and_its_fate_is_told_live() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let mut all = Stream::open(blog.query.get("/live")).await;
    for n in 0..10 {
        let post = blog.post(&format!("Fresh {n}")).await;
        let page = blog.query.get(&format!("/query/posts/{post}?wait=5000")).send().await.expect(200).json();
        assert_eq!(page["title"], format!("Fresh {n}"), "the next page knows it");
        let update = all.until("the post", |e| e.data.contains(&post)).await;
        assert_eq!(update.json()["post"]["title"], format!("Fresh {n}"));

        let mut one = Stream::open(blog.query.get(&format!("/live?post={post}"))).await;
        let comment = blog.comment(&post, "live").await;
        let path = format!("/query/posts/{post}?wait=5000&comment={comment}");
        let page = blog.query.get(&path).send().await.expect(200).json();
        assert_eq!(page["comments"][0]["id"], comment.as_str());
        let update = one.until("the verdict", |e| e.data.contains("approved")).await.json();
        assert_eq!(
            (&update["comment"]["id"], &update["comment"]["content"], &update["comment"]["status"]),
            (&json!(comment), &json!("live"), &json!("approved"))
        );
    }
}

/// 11. A dead process behind an open port: no probe notices.
#[tokio::test]
async fn a_dead_process_behind_an_open_port_is_noticed() {
    let stack = Stack::services().await;
    for service in [Posts, Comments, Moderation, Query, EventBus] {
        for probe in ["/livez", "/readyz"] {
            assert_eq!(stack.admin(service).get(probe).send().await.expect(200).text(), "ok", "{service}");
        }
    }
    let paused = stack.pause(Query);
    let port = stack.at(Query).authority();
    tokio::net::TcpStream::connect(port).await.expect("the port is open all the same");
    let why = stack.not_ready(Query).await;
    assert!(why.as_ref().is_some_and(|why| why.contains("does not answer")), "{why:?}");
    assert_eq!(stack.not_ready(Posts).await, None, "the others stay ready");
    drop(paused);
    eventually(LIMIT, "query is ready again", async || holds(stack.not_ready(Query).await, Option::is_none))
        .await;

    stack.crash(Query).await;
    eventually(LIMIT, "query is ready again", async || holds(stack.not_ready(Query).await, Option::is_none))
        .await;
}
