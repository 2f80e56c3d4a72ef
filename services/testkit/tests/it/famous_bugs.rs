//! How Microsoft's eShop reference application loses events, one test each.
//!
//! Its third way, a crash between the commit and the publication, needs a process that crashes: see `crashes`.

use serde_json::json;
use shared::ServiceName::{EventBus, Posts, Query};
use testkit::events::{post_created, published};
use testkit::{World, eventually, post};

/// Its consumer catches every error of a handler, logs it, and acknowledges: the event is lost.
#[tokio::test]
async fn an_event_whose_handler_failed_is_not_acknowledged() {
    let world = World::new();
    let bus = world.start_bus().await;
    let query = world.start(world.config(Query).into(), query::build).await;
    query.becomes_ready().await;
    // The handler fails, and the event is not the reason.
    world.execute(Query, "ALTER TABLE posts RENAME TO elsewhere");
    bus.post("/events", &published(&post_created("p1", "Not lost", 1), "e1")).await.ok(200);
    let subscription = async || bus.get("/subscriptions").await.ok(200)[0].clone();
    let failing = eventually("the delivery fails repeatedly", async || {
        Some(subscription().await).filter(|row| row["attempts"].as_u64() > Some(1))
    })
    .await;
    assert_eq!(failing["lag"], 1, "it is not acknowledged: {failing}");
    assert!(failing["lastError"].as_str().unwrap().contains("503"), "{failing}");
    assert_eq!(
        world.rows(Query, "SELECT count(*) FROM dead_letters"),
        ["0"],
        "the event is not to blame, so it is not parked"
    );
    world.execute(Query, "ALTER TABLE elsewhere RENAME TO posts");
    eventually("it is delivered", async || (subscription().await["lag"] == 0).then_some(())).await;
    assert_eq!(query.get("/posts").await.ok(200)["p1"]["title"], "Not lost");
}

/// Only the request that wrote to its outbox publishes the row: if that fails, the row stays there for ever.
#[tokio::test]
async fn an_outbox_row_that_was_not_sent_at_once_is_sent_later_without_another_request() {
    let world = World::new();
    let posts = world.start(world.config(Posts), posts::build).await;
    posts.send(post("/posts/create").json(&json!({"title": "Not lost"}))).await.ok(201);
    assert_eq!(world.rows(Posts, "SELECT count(*) FROM outbox"), ["1"], "there is no bus");
    world.stop(posts).await;

    // From here on the service receives no request.
    let bus = world.start_bus().await;
    let _posts = world.start(world.config(Posts), posts::build).await;
    let log = async || world.rows(EventBus, "SELECT envelope FROM events");
    let log = eventually("it is in the log", async || Some(log().await).filter(|log| !log.is_empty())).await;
    assert!(log.len() == 1 && log[0].contains("Not lost"), "{log:?}");
    let sent = async || (world.rows(Posts, "SELECT count(*) FROM outbox") == ["0"]).then_some(());
    eventually("the outbox is empty", sent).await;
    world.stop(bus).await;
}
