//! Posts with a real bus: its events arrive there, whatever happens between.

use crate::{outbox, start};
use axum::routing::post;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};
use shared::{Sequence, ServiceName};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::{Running, World, eventually, get};
use tokio::sync::Semaphore;

async fn create(posts: &Running, title: &str) -> Value {
    posts.post("/posts/create", &json!({ "title": title })).await.ok(201)
}

async fn titles(world: &World, bus: &Running) -> Vec<Value> {
    let log = bus.send(get("/events").as_operator(world)).await.ok(200);
    log.as_array().unwrap().iter().map(|e| e["data"]["title"].clone()).collect()
}

async fn log_has(world: &World, bus: &Running, expected: &[&str]) {
    eventually("the log has them all", async || {
        (titles(world, bus).await.len() >= expected.len()).then_some(())
    })
    .await;
    assert_eq!(titles(world, bus).await, expected);
}

async fn outbox_is_empty(world: &World) {
    eventually("the outbox is empty", async || outbox(world).is_empty().then_some(())).await;
}

#[tokio::test]
async fn it_takes_posts_while_the_bus_is_down_and_publishes_them_in_order_afterwards() {
    for world in [World::new(), World::secure()] {
        let posts = start(&world).await;
        for title in ["a", "b", "c"] {
            create(&posts, title).await;
        }
        assert_eq!(posts.get("/readyz").await.status, 200, "it needs no bus to take posts");
        let bus = world.start_bus().await;
        log_has(&world, &bus, &["a", "b", "c"]).await;
        outbox_is_empty(&world).await;

        world.stop(bus).await;
        create(&posts, "d").await;
        let bus = world.start_bus().await;
        create(&posts, "e").await;
        log_has(&world, &bus, &["a", "b", "c", "d", "e"]).await;
        outbox_is_empty(&world).await;
    }
}

#[tokio::test]
async fn what_the_bus_refuses_or_loses_is_published_again_and_is_there_once() {
    let world = World::new();
    let posts = start(&world).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&tries);
    let ill = Router::new().route(
        "/events",
        post(async move || {
            seen.fetch_add(1, Ordering::Relaxed);
            StatusCode::INTERNAL_SERVER_ERROR
        }),
    );
    world.network.connect(ServiceName::EventBus, ill);
    create(&posts, "a").await;
    eventually("it is tried again", async || (tries.load(Ordering::Relaxed) > 3).then_some(())).await;
    assert_eq!(outbox(&world).len(), 1, "it stays until the bus has it on disk");

    // The bus takes it, and the acknowledgement is lost: published again, and known again.
    world.network.lose_answers(ServiceName::EventBus, 20);
    let bus = world.start_bus().await;
    log_has(&world, &bus, &["a"]).await;
    outbox_is_empty(&world).await;
    let sent = world.network.sent_to(ServiceName::EventBus);
    let publications: Vec<_> =
        sent.iter().filter(|sent| sent.path == "/events" && sent.status == 200).collect();
    assert!(publications.len() > 1 && publications.iter().all(|sent| sent.body == publications[0].body));
    assert_eq!(titles(&world, &bus).await, ["a"]);
}

#[tokio::test]
async fn only_an_answer_that_names_each_events_place_is_an_acknowledgement() {
    let world = World::new();
    let posts = start(&world).await;
    let answers =
        ["", "<html>a proxy's page</html>", "{}", r#"{"status":"OK"}"#, r#"{"status":"OK","sequences":[]}"#];
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let stranger = Router::new()
        .route("/events", post(async move || answers[count.fetch_add(1, Ordering::Relaxed) % answers.len()]));
    world.network.connect(ServiceName::EventBus, stranger);
    create(&posts, "a").await;
    let all = answers.len() + 1;
    eventually("each was given", async || (given.load(Ordering::Relaxed) >= all).then_some(())).await;
    assert_eq!(outbox(&world).len(), 1, "nobody has said that it is in a log");
    let bus = world.start_bus().await;
    log_has(&world, &bus, &["a"]).await;
    outbox_is_empty(&world).await;
}

#[tokio::test]
async fn what_is_queued_during_a_publication_is_published_after_it() {
    let world = World::new();
    let posts = start(&world).await;
    let (published, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
    let (seen, opened) = (Arc::clone(&published), Arc::clone(&gate));
    let slow = Router::new().route(
        "/events",
        post(async move |Json(events): Json<Vec<Value>>| {
            let places: Vec<_> = (1..=events.len() as i64).map(Sequence::new).collect();
            seen.lock().unwrap().push(events);
            opened.acquire().await.unwrap().forget();
            Json(json!({"status": "OK", "sequences": places}))
        }),
    );
    world.network.connect(ServiceName::EventBus, slow);
    let publications = async |count: usize| {
        let look = async || Some(published.lock().unwrap().clone()).filter(|all| all.len() >= count);
        eventually("it is published", look).await
    };
    create(&posts, "a").await;
    publications(1).await;
    create(&posts, "b").await;
    gate.add_permits(1);
    let both = publications(2).await;
    let only_the_second = async || (outbox(&world).len() == 1).then_some(());
    eventually("the first is deleted, and the second is not", only_the_second).await;
    gate.add_permits(9);
    let titles: Vec<Vec<_>> =
        both.iter().map(|p| p.iter().map(|e| e["data"]["title"].clone()).collect()).collect();
    assert_eq!(titles, [["a"], ["b"]]);
    outbox_is_empty(&world).await;
}

#[tokio::test]
async fn a_bus_that_asks_for_time_gets_it() {
    let world = World::new();
    let posts = start(&world).await;
    let tries = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&tries);
    let busy = Router::new().route(
        "/events",
        post(async move || {
            seen.lock().unwrap().push(Instant::now());
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")])
        }),
    );
    world.network.connect(ServiceName::EventBus, busy);
    create(&posts, "a").await;
    let tried_again = async || Some(tries.lock().unwrap().clone()).filter(|tries| tries.len() == 2);
    let tries = eventually("it is tried again", tried_again).await;
    assert!(tries[1] - tries[0] >= Duration::from_secs(1), "{:?}", tries[1] - tries[0]);
    assert_eq!(outbox(&world).len(), 1);
}

#[tokio::test]
async fn a_wiped_store_is_rebuilt_from_the_log_and_publishes_nothing_new() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let posts = start(&world).await;
    for n in 0..30 {
        world.clock.advance_ms(1);
        posts
            .post("/posts/create", &json!({"title": format!("post {n}"), "body": "b", "author": "a"}))
            .await
            .ok(201);
    }
    let cursor = async || world.rows(ServiceName::Posts, "SELECT seq FROM cursor") == ["30"];
    eventually("its own events come back", async || cursor().await.then_some(())).await;
    outbox_is_empty(&world).await;
    let listed = posts.get("/posts").await;
    let rows = world.rows(ServiceName::Posts, "SELECT * FROM posts ORDER BY id");
    let log = bus.send(get("/events").as_operator(&world)).await;

    world.stop(posts).await;
    world.wipe(ServiceName::Posts);
    let posts = start(&world).await;
    eventually("it is full again", async || cursor().await.then_some(())).await;
    assert_eq!(posts.get("/posts").await.body, listed.body);
    assert_eq!(world.rows(ServiceName::Posts, "SELECT * FROM posts ORDER BY id"), rows);
    assert!(outbox(&world).is_empty());

    // And it goes on.
    create(&posts, "new").await;
    eventually("it is published", async || (titles(&world, &bus).await.len() == 31).then_some(())).await;
    let after = bus.send(get("/events").as_operator(&world)).await;
    assert!(after.text().starts_with(log.text().strip_suffix(']').unwrap()), "what was there is as it was");
}

#[tokio::test]
async fn posts_of_the_course_are_read_back_with_the_time_of_their_envelope_in_the_order_of_the_log() {
    let world = World::new();
    let bus = world.start_bus().await;
    // The course's ids are random, and the clock stands still: only the log knows the order.
    let ids = ["7f2a", "01bc", "e4d9", "0000", "ffff", "9a3e"];
    for id in ids {
        bus.post("/events", &json!({"type": "PostCreated", "data": {"id": id, "title": "T"}})).await.ok(200);
    }
    let posts = start(&world).await;
    let applied = || world.rows(ServiceName::Posts, "SELECT seq FROM cursor") == ["6"];
    eventually("everything is read", async || applied().then_some(())).await;
    let answer = posts.get("/posts").await;
    let places: Vec<_> =
        ids.iter().map(|id| answer.text().find(&format!("\"{id}\":{{")).expect(id)).collect();
    assert!(places.is_sorted(), "{}", answer.text());
    assert_eq!(answer.ok(200)["7f2a"]["createdAt"], "2027-01-15T08:00:00.000Z");
}
