//! `mini-blog dead-letters`.

use serde_json::json;
use shared::ServiceName::{Posts, Query};
use system_tests::Stack;
use system_tests::bus::post_created;
use system_tests::stack::said;

#[tokio::test]
async fn events_that_wait_are_listed_redriven_and_discarded() {
    let stack = Stack::services().await;
    let poison = json!({ "type": "PostCreated", "data": { "id": "poisoned", "title": { "an": "object" } } });
    stack.publish(Posts, &poison).await;
    stack.publish(Posts, &post_created("poisoned", "The same post, now in order")).await;
    for service in shared::ServiceName::PEERS {
        stack.until_caught_up(service).await;
    }
    let id = stack.dead_letters(Query).await[0]["id"].as_i64().expect("a number");

    // Three services consume the event, and it is parked in each.
    let terminal = async |args: &str| {
        let output = stack.cli(&args.split(' ').collect::<Vec<_>>()).await;
        (output.status.code(), said(&output))
    };
    let (code, list) = terminal("dead-letters").await;
    let rows = |service: &str| list.lines().filter(|line| line.starts_with(service)).count();
    assert_eq!((code, rows("SERVICE")), (Some(0), 1), "{list}");
    assert_eq!(["posts", "comments", "moderation", "query"].map(rows), [2, 2, 0, 2], "{list}");
    assert!(list.lines().skip(1).all(|line| line.contains(" poisoned ")), "{list}");
    let none = (Some(0), "No dead letters.\n".to_owned());
    assert_eq!(terminal("dead-letters --service moderation").await, none);
    assert_eq!(
        terminal("dead-letters redrive moderation 1").await.0,
        Some(1),
        "there is no such dead letter"
    );
    let (code, why) = terminal("dead-letters redrive event-bus 1").await;
    assert!(code == Some(2) && why.contains("one of posts, comments, moderation and query"), "{why}");
    let redriven = terminal(&format!("dead-letters redrive query {id}")).await;
    assert_eq!(redriven, (Some(0), "query: 0 applied, 2 still parked\n".to_owned()));
    let discarded = terminal(&format!("dead-letters discard query {id}")).await;
    assert_eq!(discarded, (Some(0), "query: discarded; 1 applied, none left\n".to_owned()));
    assert_eq!(terminal("dead-letters --service query").await, none);
    assert_eq!(stack.blog().read_post("poisoned").await["title"], "The same post, now in order");
}
