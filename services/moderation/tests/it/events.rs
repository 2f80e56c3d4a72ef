//! `POST /events`: comments to judge, and its own past.

use crate::{comment, outbox, queue, start, start_with_rules};
use serde_json::json;
use shared::ServiceName;
use shared::events::Status;
use testkit::events::{comment_created, comment_moderated, comment_updated, logged, post_created};
use testkit::{World, get};

#[tokio::test]
async fn the_course_sends_a_bare_event() {
    let world = World::new();
    let moderation = start(&world).await;
    let data = json!({"id": "c1", "content": "an orange", "postId": "p1", "status": "pending"});
    for _ in 0..2 {
        let reply = moderation.post("/events", &json!({"type": "CommentCreated", "data": data})).await;
        assert_eq!(reply.ok(200), json!({}));
    }
    let [verdict] = &outbox(&world)[..] else { panic!("one verdict, however often it is asked for") };
    assert_eq!(verdict["data"]["status"], "rejected");
    assert_eq!((verdict.get("causationid"), verdict.get("correlationid")), (None, None));
}

#[tokio::test]
async fn only_new_comments_are_judged() {
    let world = World::new();
    let moderation = start(&world).await;
    let log = [
        logged(&post_created("p1", "orange", 1), 1),
        logged(&comment_updated("c1", "p1", "orange", Status::Approved), 2),
        logged(&comment_moderated("c2", "p1", "orange", Status::Approved), 3),
    ];
    assert_eq!(moderation.deliver(&world, &log).await.ok(200), json!({}));
    assert!(outbox(&world).is_empty());
}

#[tokio::test]
async fn its_own_verdict_from_the_log_stands_whatever_the_rules_say_now() {
    let world = World::new();
    let moderation = start_with_rules(&world).await;
    comment(&world, &moderation, 1, "https://").await;
    let verdict = comment_moderated("c1", "p1", "https://", Status::Rejected);
    moderation.deliver(&world, &[logged(&verdict, 2)]).await.ok(200);
    assert_eq!(queue(&world, &moderation).await, json!([]), "it waits no longer");
    let rows = || world.rows(ServiceName::Moderation, "SELECT comment_id, status, reason FROM verdicts");
    assert_eq!(rows(), [r#""c1" "rejected" "a reason""#]);

    // Said before its comment arrives: the comment is not judged again.
    let early = comment_moderated("c4", "p1", "fine", Status::Rejected);
    moderation.deliver(&world, &[logged(&early, 3)]).await.ok(200);
    let late = comment_created("c4", "p1", "fine", 4);
    moderation.deliver(&world, &[logged(&late, 4)]).await.ok(200);
    assert_eq!(rows()[1], r#""c4" "rejected" "a reason""#);
    assert_eq!(outbox(&world)[0]["data"]["status"], "rejected");
}

#[tokio::test]
async fn a_verdict_that_decides_nothing_is_parked() {
    let world = World::new();
    let moderation = start_with_rules(&world).await;
    comment(&world, &moderation, 1, "https://").await;
    let pending = comment_moderated("c1", "p1", "https://", Status::Pending);
    moderation.deliver(&world, &[logged(&pending, 2)]).await.ok(200);
    let letters = moderation.send(get("/dead-letters")).await.ok(200);
    assert_eq!(letters[0]["error"], "a verdict must be approved or rejected");
    assert_eq!(queue(&world, &moderation).await[0]["comment"]["id"], "c1", "it still waits");
    assert!(world.rows(ServiceName::Moderation, "SELECT * FROM verdicts").is_empty());
}
