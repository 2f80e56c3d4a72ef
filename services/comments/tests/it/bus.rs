//! Comments with a real bus.

use crate::{COMMENTS, outbox, say, seen_by, start};
use kit::messaging::signature::Direction;
use serde_json::{Value, json};
use shared::events::Status;
use shared::{Envelope, ServiceName};
use testkit::events::{comment_moderated, post_created, published};
use testkit::{Reply, Running, World, eventually, get, post};

/// Publishes as another service does.
async fn publish(world: &World, bus: &Running, service: ServiceName, envelope: &Envelope) -> Reply {
    let ask = post("/events").json(envelope);
    bus.send(if world.secret(service).is_some() {
        ask.signed(world, service, Direction::Publish)
    } else {
        ask
    })
    .await
}

async fn log(world: &World, bus: &Running) -> Vec<Value> {
    bus.send(get("/events").as_operator(world)).await.ok(200).as_array().unwrap().clone()
}

async fn log_has(world: &World, bus: &Running, count: usize) {
    eventually("the log has them", async || (log(world, bus).await.len() >= count).then_some(())).await;
}

async fn has_applied(world: &World, count: i64) {
    let cursor = count.to_string();
    let applied = || world.rows(ServiceName::Comments, "SELECT seq FROM cursor").first() == Some(&cursor);
    eventually("everything is applied", async || applied().then_some(())).await;
}

async fn outbox_is_empty(world: &World) {
    eventually("the outbox is empty", async || outbox(world).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_comments_whole_way() {
    for world in [World::new(), World::secure()] {
        let bus = world.start_bus().await;
        let comments = start(&world).await;
        publish(&world, &bus, ServiceName::Posts, &published(&post_created("p1", "T", 0), "post"))
            .await
            .ok(200);
        let reply = comments.send(say("hi")).await;
        let id = crate::last(&reply)["id"].as_str().unwrap().to_owned();
        log_has(&world, &bus, 2).await;
        let verdict = published(&comment_moderated(&id, "p1", "hi", Status::Approved), "verdict");
        publish(&world, &bus, ServiceName::Moderation, &verdict).await.ok(200);
        log_has(&world, &bus, 4).await;
        let names: Vec<_> = log(&world, &bus).await.iter().map(|e| e["type"].clone()).collect();
        assert_eq!(names, ["PostCreated", "CommentCreated", "CommentModerated", "CommentUpdated"]);
        assert_eq!(seen_by(&comments, None).await[0]["content"], "hi");
    }
}

#[tokio::test]
async fn it_takes_comments_while_the_bus_is_down_and_publishes_them_in_order_afterwards() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let comments = start(&world).await;
    publish(&world, &bus, ServiceName::Posts, &published(&post_created("p1", "T", 0), "post")).await.ok(200);
    comments.send(say("0")).await.ok(201);
    log_has(&world, &bus, 2).await;
    world.stop(bus).await;
    for n in 1..6 {
        comments.send(say(&n.to_string())).await.ok(201);
    }
    assert_eq!(comments.get("/readyz").await.status, 200);
    let bus = world.start_bus().await;
    log_has(&world, &bus, 7).await;
    let said: Vec<_> = log(&world, &bus).await[1..].iter().map(|e| e["data"]["content"].clone()).collect();
    assert_eq!(said, ["0", "1", "2", "3", "4", "5"]);
    outbox_is_empty(&world).await;
}

#[tokio::test]
async fn a_wiped_store_is_rebuilt_from_the_log_and_publishes_nothing_new() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let comments = start(&world).await;
    publish(&world, &bus, ServiceName::Posts, &published(&post_created("p1", "T", 0), "post")).await.ok(200);
    let (mut cookie, mut published_by_now) = (None, 1);
    for n in 0..12 {
        world.clock.advance_ms(10);
        let ask = post(COMMENTS).json(&json!({"content": format!("comment {n}"), "author": "Ada"}));
        let reply = comments.send(cookie.iter().fold(ask, |ask, c: &String| ask.cookie(c))).await;
        cookie = reply.cookie().or(cookie);
        let id = crate::last(&reply)["id"].as_str().unwrap().to_owned();
        published_by_now += 1;
        log_has(&world, &bus, published_by_now).await;
        // A third is approved, a third rejected, a third still waits.
        if n % 3 < 2 {
            let status = if n % 3 == 0 { Status::Approved } else { Status::Rejected };
            let verdict =
                published(&comment_moderated(&id, "p1", &format!("comment {n}"), status), &format!("v{n}"));
            publish(&world, &bus, ServiceName::Moderation, &verdict).await.ok(200);
            published_by_now += 2;
            log_has(&world, &bus, published_by_now).await;
        }
    }
    let events = 1 + 12 + 8 + 8;
    log_has(&world, &bus, events).await;
    has_applied(&world, events as i64).await;
    outbox_is_empty(&world).await;
    let before = log(&world, &bus).await;
    let (everybody, writer) = (seen_by(&comments, None).await, seen_by(&comments, cookie.as_deref()).await);
    let rows = world.rows(ServiceName::Comments, "SELECT * FROM comments ORDER BY n");

    world.stop(comments).await;
    world.wipe(ServiceName::Comments);
    let comments = start(&world).await;
    has_applied(&world, events as i64).await;
    assert_eq!(seen_by(&comments, None).await, everybody);
    assert_eq!(seen_by(&comments, cookie.as_deref()).await, writer);
    assert_eq!(world.rows(ServiceName::Comments, "SELECT * FROM comments ORDER BY n"), rows);
    outbox_is_empty(&world).await;
    assert_eq!(log(&world, &bus).await, before, "the bus knows every event that was said again");

    comments.send(say("and on")).await.ok(201);
    log_has(&world, &bus, events + 1).await;
}

#[tokio::test]
async fn comments_of_the_course_have_the_time_of_their_envelope_and_the_order_of_the_log() {
    let world = World::new();
    let bus = world.start_bus().await;
    let ids = ["7f2a", "01bc", "e4d9", "0000", "ffff", "9a3e"];
    for id in ids {
        let data = json!({"id": id, "content": "hi", "postId": "p1", "status": "pending"});
        bus.post("/events", &json!({"type": "CommentCreated", "data": data})).await.ok(200);
    }
    let comments = start(&world).await;
    has_applied(&world, 6).await;
    let seen = seen_by(&comments, None).await;
    let found: Vec<_> = seen.as_array().unwrap().iter().map(|c| c["id"].clone()).collect();
    assert_eq!(found, ids);
    assert_eq!(seen[0]["createdAt"], "2027-01-15T08:00:00.000Z");
}
