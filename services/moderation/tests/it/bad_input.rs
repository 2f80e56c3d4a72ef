//! What moderation refuses: with the contract's error, and leaving nothing behind.

use crate::{comment, decide, start, start_with_rules};
use http::Method;
use serde_json::json;
use shared::text::PUBLIC_BYTES;
use shared::{ProblemKind, ServiceName};
use testkit::{World, checks, post};

#[tokio::test]
async fn what_is_not_the_json_of_a_verdict() {
    let world = World::secure();
    let moderation = start_with_rules(&world).await;
    comment(&world, &moderation, 1, "https://").await;
    let ask = post("/moderation/comments/c1").as_operator(&world);
    checks::json_route(&world, &moderation, &ask, &json!({"status": "approved"}), PUBLIC_BYTES).await;
    checks::unknown_routes(&moderation).await;
}

#[tokio::test]
async fn wrong_fields_are_named_all_at_once() {
    let world = World::secure();
    let moderation = start_with_rules(&world).await;
    comment(&world, &moderation, 1, "https://").await;
    let before = world.dump(ServiceName::Moderation);
    let approved = |reason: serde_json::Value| json!({"status": "approved", "reason": reason});
    for (body, fields) in [
        (json!({}), vec!["/status"]),
        (json!({"status": "pending"}), vec!["/status"]),
        (json!({"status": "Approved"}), vec!["/status"]),
        (json!({"status": 5}), vec!["/status"]),
        (json!({"status": null}), vec!["/status"]),
        (json!({"status": ["approved"]}), vec!["/status"]),
        (approved(json!(5)), vec!["/reason"]),
        (approved(json!({})), vec!["/reason"]),
        (approved(json!("x".repeat(201))), vec!["/reason"]),
        (approved(json!("a\u{202e}b")), vec!["/reason"]),
        (approved(json!("a\nb")), vec!["/reason"]),
        (approved(json!("a\u{0}b")), vec!["/reason"]),
        (json!({"status": "maybe", "reason": 1, "rule": "mine"}), vec!["/rule", "/status", "/reason"]),
    ] {
        let reply = decide(&world, &moderation, "c1", &body).await;
        assert_eq!(reply.invalid_fields(), fields, "{body}");
    }
    assert_eq!(world.dump(ServiceName::Moderation), before);
    let most = approved(json!("ä".repeat(200)));
    assert_eq!(decide(&world, &moderation, "c1", &most).await.status, 204);
    comment(&world, &moderation, 2, "https://").await;
    assert_eq!(decide(&world, &moderation, "c2", &approved(json!(null))).await.status, 204);
}

#[tokio::test]
async fn moderating_is_the_operators() {
    let world = World::secure();
    let moderation = start_with_rules(&world).await;
    comment(&world, &moderation, 1, "https://").await;
    let routes = [
        (Method::GET, "/moderation/queue"),
        (Method::POST, "/moderation/comments/c1"),
        (Method::GET, "/dead-letters"),
        (Method::POST, "/dead-letters/1/redrive"),
        (Method::POST, "/dead-letters/1/discard"),
    ];
    checks::operator_only(&world, &moderation, &routes).await;
}

#[tokio::test]
async fn only_the_bus_delivers() {
    let world = World::secure();
    let moderation = start(&world).await;
    checks::signed_deliveries_only(&world, &moderation).await;
}

#[tokio::test]
async fn what_is_no_event_changes_nothing() {
    let world = World::new();
    let moderation = start(&world).await;
    checks::no_events(&world, &moderation).await;
    moderation.get("/moderation/comments/c1").await.problem(ProblemKind::MethodNotAllowed);
}

#[tokio::test]
async fn deliveries_are_applied_once_and_in_order() {
    let world = World::secure();
    let moderation = start(&world).await;
    checks::delivery(&world, &moderation).await;
}
