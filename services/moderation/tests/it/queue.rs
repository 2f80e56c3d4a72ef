//! Comments that wait for a person, and the person's verdict.

use crate::{comment, decide, outbox, queue, start_with_rules};
use serde_json::json;
use shared::ProblemKind;
use testkit::World;

const LINK: &str = "see https://example.com";

#[tokio::test]
async fn held_comments_wait_in_a_queue_oldest_first() {
    let world = World::secure();
    let moderation = start_with_rules(&world).await;
    assert_eq!(queue(&world, &moderation).await, json!([]));
    for n in 1..=3 {
        world.clock.advance_ms(if n == 3 { -60_000 } else { 1_000 });
        comment(&world, &moderation, n, LINK).await;
    }
    let waiting = queue(&world, &moderation).await;
    let ids: Vec<_> = waiting.as_array().unwrap().iter().map(|held| held["comment"]["id"].clone()).collect();
    assert_eq!(ids, ["c3", "c1", "c2"], "in the order in which they began to wait");
    assert_eq!(
        waiting[1],
        json!({
            "comment": {
                "id": "c1", "content": LINK, "postId": "p1", "status": "pending",
                "createdAt": "2027-01-15T08:00:01.000Z", "version": 1
            },
            "rule": "links", "heldAt": "2027-01-15T08:00:01.000Z"
        })
    );
    assert!(outbox(&world).is_empty(), "nothing is said of them yet");
}

#[tokio::test]
async fn a_person_decides_and_it_is_told_like_any_verdict() {
    let world = World::secure();
    let moderation = start_with_rules(&world).await;
    comment(&world, &moderation, 1, LINK).await;
    comment(&world, &moderation, 2, LINK).await;
    world.clock.advance_ms(3_600_000);
    let reply =
        decide(&world, &moderation, "c2", &json!({"status": "rejected", "reason": "  no links, please "}))
            .await;
    assert_eq!((reply.status, reply.text()), (204, ""));
    let reply = decide(&world, &moderation, "c1", &json!({"status": "approved"})).await;
    assert_eq!((reply.status, reply.text()), (204, ""));
    assert_eq!(queue(&world, &moderation).await, json!([]));

    let [rejected, approved] = &outbox(&world)[..] else { panic!("two verdicts") };
    assert_eq!(
        rejected["data"],
        json!({
            "id": "c2", "content": LINK, "postId": "p1", "status": "rejected", "reason": "no links, please",
            "rule": "person"
        })
    );
    assert_eq!(rejected["causationid"], "event-2");
    assert_eq!(
        approved["data"],
        json!({"id": "c1", "content": LINK, "postId": "p1", "status": "approved", "rule": "person"})
    );
}

#[tokio::test]
async fn there_is_no_second_verdict() {
    let world = World::secure();
    let moderation = start_with_rules(&world).await;
    comment(&world, &moderation, 1, LINK).await;
    comment(&world, &moderation, 2, "buy now").await;
    let approve = json!({"status": "approved"});
    let reject = json!({"status": "rejected"});
    let (one, other) =
        tokio::join!(decide(&world, &moderation, "c1", &approve), decide(&world, &moderation, "c1", &reject));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404], "of two at the same time one stands");
    assert_eq!(outbox(&world).len(), 2);
    let before = world.dump(shared::ServiceName::Moderation);
    for id in ["c1", "c2", "unknown", "__proto__", "a.b", "%2e%2e", &"x".repeat(1_000)] {
        for verdict in [&approve, &reject] {
            let problem = decide(&world, &moderation, id, verdict).await.problem(ProblemKind::NotFound);
            assert_eq!(problem.detail.as_deref(), Some("no comment with this id waits for a verdict"));
        }
    }
    assert_eq!(world.dump(shared::ServiceName::Moderation), before);
}

#[tokio::test]
async fn what_waits_still_waits_after_a_restart() {
    let world = World::secure();
    let moderation = start_with_rules(&world).await;
    comment(&world, &moderation, 1, LINK).await;
    let before = queue(&world, &moderation).await;
    world.stop(moderation).await;
    let moderation = start_with_rules(&world).await;
    assert_eq!(queue(&world, &moderation).await, before);
    assert_eq!(decide(&world, &moderation, "c1", &json!({"status": "approved"})).await.status, 204);
}
