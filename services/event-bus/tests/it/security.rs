//! Who may publish what, and who may look.

use crate::{bare, log, seq, signed, stored};
use http::Method;
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::deps::Clock;
use kit::runtime::secret::Secret;
use serde_json::{Value, json};
use shared::{EventType, ProblemKind, ServiceName};
use testkit::{Ask, World, checks, post};

fn event_of(event_type: EventType) -> Value {
    json!({"type": event_type.as_str(), "data": {"id": "c1", "postId": "p1", "content": "x", "status": "approved"}})
}

#[tokio::test]
async fn only_the_publisher_in_the_table_may_publish() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let mut appended = 0;
    for &event_type in EventType::ALL {
        for service in ServiceName::PEERS {
            let reply = bus.send(signed(&world, service, &event_of(event_type))).await;
            if service == event_type.publisher() {
                appended += 1;
                assert_eq!(reply.ok(200)["sequence"], seq(appended));
            } else {
                let detail = reply.problem(ProblemKind::Forbidden).detail.unwrap();
                assert_eq!(detail, format!("{service} may not publish {event_type}"));
            }
        }
    }
    let events = log(&world, &bus, "").await;
    let sources: Vec<_> = events.iter().map(|e| e["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["/posts", "/comments", "/moderation", "/comments"]);
}

#[tokio::test]
async fn nobody_speaks_in_anothers_name() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let mut forged = bare(1);
    forged["source"] = json!("/comments");
    let unknown = json!({"type": "Anything", "data": 1});
    let verdict = event_of(EventType::CommentModerated);
    for body in [forged.clone(), unknown.clone(), verdict.clone()] {
        bus.send(signed(&world, ServiceName::Posts, &body)).await.problem(ProblemKind::Forbidden);
        // One such event takes the whole batch with it.
        bus.send(signed(&world, ServiceName::Posts, &json!([bare(1), body])))
            .await
            .problem(ProblemKind::Forbidden);
    }
    bus.send(signed(&world, ServiceName::Comments, &forged)).await.problem(ProblemKind::Forbidden);
    assert!(stored(&world).is_empty());
}

#[tokio::test]
async fn what_is_not_signed_by_a_service_just_now_is_refused() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let body = bare(1);
    let good = || signed(&world, ServiceName::Posts, &body);
    let refused = async |ask: Ask, why: &str| {
        assert!(bus.send(ask).await.problem(ProblemKind::Unauthorized).detail.is_some(), "{why}");
        assert!(stored(&world).is_empty(), "{why}");
    };
    refused(post("/events").json(&body), "unsigned").await;
    refused(post("/events").json(&body).as_operator(&world), "an operator is no service").await;
    refused(post("/events").body("text/plain", "{"), "unsigned garbage").await;
    for service in ServiceName::PEERS {
        let delivery = post("/events").json(&body).signed(&world, service, Direction::Deliver);
        refused(delivery, "a delivery played back as a publication").await;
    }
    let key = SigningKey::derive(&Secret::new("a-secret-that-nobody-knows").unwrap(), Direction::Publish);
    let mut forged = post("/events").json(&body);
    for (name, value) in key.sign("msg_test", world.clock.now(), body.to_string().as_bytes()) {
        forged = forged.header(name, value);
    }
    refused(forged, "forged").await;
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        refused(good().without(header), "a header is missing").await;
        refused(good().without(header).header(header, "1800000001"), "a header was changed").await;
        refused(good().without(header).header(header, b"\xff"), "a header is garbage").await;
    }
    for away in [-301_000, 301_000] {
        let stale = good();
        world.clock.advance_ms(away);
        refused(stale, "stale, or from the future").await;
        world.clock.advance_ms(-away);
    }
    let captured = good();
    world.clock.advance_ms(300_000);
    bus.send(captured).await.ok(200);
}

#[tokio::test]
async fn a_captured_publication_played_back_is_the_same_event() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let mut event = bare(1);
    event["id"] = json!("e1");
    let captured = signed(&world, ServiceName::Posts, &event);
    for _ in 0..3 {
        assert_eq!(bus.send(captured.clone()).await.ok(200)["sequence"], seq(1));
    }
    assert_eq!(stored(&world).len(), 1);
}

#[tokio::test]
async fn what_was_signed_for_one_route_is_no_use_on_the_other() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let mut publication = signed(&world, ServiceName::Posts, &bare(1));
    publication = publication.at("/subscriptions");
    bus.send(publication).await.problem(ProblemKind::Invalid);
    let request = json!({"name": "posts", "url": "http://posts/events", "cursor": seq(0)});
    bus.send(signed(&world, ServiceName::Posts, &request)).await.problem(ProblemKind::Invalid);
    assert!(stored(&world).is_empty());
}

#[tokio::test]
async fn each_service_subscribes_itself_alone() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let request = |name: &str| json!({"name": name, "url": "http://somewhere/events", "cursor": seq(0)});
    let before = world.dump(ServiceName::EventBus);
    for service in ServiceName::PEERS {
        for other in ServiceName::ALL.into_iter().filter(|other| *other != service) {
            let ask = signed(&world, service, &request(other.as_str())).at("/subscriptions");
            bus.send(ask).await.problem(ProblemKind::Forbidden);
        }
    }
    bus.send(post("/subscriptions").json(&request("posts"))).await.problem(ProblemKind::Unauthorized);
    bus.send(post("/subscriptions").json(&request("posts")).as_operator(&world))
        .await
        .problem(ProblemKind::Unauthorized);
    let delivery =
        post("/subscriptions").json(&request("posts")).signed(&world, ServiceName::Posts, Direction::Deliver);
    bus.send(delivery).await.problem(ProblemKind::Unauthorized);
    assert_eq!(world.dump(ServiceName::EventBus), before);
    bus.send(signed(&world, ServiceName::Posts, &request("posts")).at("/subscriptions")).await.ok(200);
}

#[tokio::test]
async fn looking_is_the_operators() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let routes = [
        (Method::GET, "/events"),
        (Method::GET, "/events/stream"),
        (Method::GET, "/subscriptions"),
        (Method::DELETE, "/subscriptions/query"),
    ];
    checks::operator_only(&world, &bus, &routes).await;
}

#[tokio::test]
async fn without_the_secret_of_every_service_it_does_not_start() {
    let world = World::secure();
    let mut config = world.bus_config();
    config.moderation_secret = None;
    let error = world.try_start(config, event_bus::build).await.unwrap_err();
    assert!(error.to_string().contains("MODERATION_SECRET"), "{error}");
    assert_eq!(error.exit_code(), 2);
}
