//! Replicas of one service that each receive every event: `service/instance`.

use crate::subscriber::Subscriber;
use crate::{acknowledges, bare, insecure, publish_posts, restart, row, seq, signed, unsubscribe};
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::deps::Clock;
use serde_json::{Value, json};
use shared::{ProblemKind, ServiceName};
use testkit::{Reply, Running, World, eventually};

const HOUR_MS: i64 = 60 * 60 * 1_000;

fn registration(name: &str, host: &str, cursor: i64) -> Value {
    json!({"name": name, "url": format!("http://{host}/events"), "cursor": seq(cursor), "batch": true})
}

/// Registers an instance of query at a host of the same name.
async fn register(bus: &Running, instance: &str, cursor: i64) -> Reply {
    bus.post("/subscriptions", &registration(&format!("query/{instance}"), instance, cursor)).await
}

#[tokio::test]
async fn each_instance_has_a_cursor_of_its_own_and_the_key_of_its_service() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let subscribers = ["a", "b"].map(|host| (host, Subscriber::at(&world, host)));
    for n in 1..=3 {
        bus.send(signed(&world, ServiceName::Posts, &bare(n))).await.ok(200);
    }
    for ((host, _), cursor) in subscribers.iter().zip([0, 2]) {
        let request = registration(&format!("query/{host}"), host, cursor);
        let stranger = signed(&world, ServiceName::Posts, &request).at("/subscriptions");
        bus.send(stranger).await.problem(ProblemKind::Forbidden);
        bus.send(signed(&world, ServiceName::Query, &request).at("/subscriptions")).await.ok(200);
    }
    let key = SigningKey::derive(&world.secret(ServiceName::Query).unwrap(), Direction::Deliver);
    for ((host, subscriber), sequences) in subscribers.iter().zip([vec![1, 2, 3], vec![3]]) {
        acknowledges(&world, &bus, &format!("query/{host}"), 3).await;
        assert_eq!(subscriber.sequences(), [sequences]);
        let delivery = &subscriber.deliveries()[0];
        key.verify(&delivery.headers, world.clock.now(), &delivery.body).unwrap();
    }
}

#[tokio::test]
async fn an_instance_is_unsubscribed_by_its_encoded_name() {
    let (world, bus) = insecure().await;
    for instance in ["a", "b"] {
        register(&bus, instance, 0).await.ok(200);
    }
    unsubscribe(&world, &bus, "query/a").await.problem(ProblemKind::NotFound);
    unsubscribe(&world, &bus, "query").await.problem(ProblemKind::NotFound);
    assert_eq!(unsubscribe(&world, &bus, "query%2Fa").await.status, 204);
    assert_eq!(row(&world, &bus, "query/a").await, None);
    assert_eq!(unsubscribe(&world, &bus, "query%2fb").await.status, 204);
    assert_eq!(bus.get("/subscriptions").await.ok(200), json!([]));
}

#[tokio::test]
async fn an_instance_that_has_not_registered_for_a_day_is_forgotten() {
    let (world, mut bus) = insecure().await;
    bus.post("/subscriptions", &registration("query", "query", 0)).await.ok(200);
    for instance in ["lives", "leaves"] {
        register(&bus, instance, 0).await.ok(200);
    }
    let names = || world.rows(ServiceName::EventBus, "SELECT name FROM subscriptions ORDER BY name");
    let all = ["\"query\"", "\"query/leaves\"", "\"query/lives\""];
    let seen = "SELECT seen_at FROM subscriptions WHERE name = 'query/lives'";
    // The bus starts again more often than once a day.
    for _ in 0..2 {
        world.clock.advance_ms(12 * HOUR_MS);
        register(&bus, "lives", 0).await.ok(200);
        let now = world.clock.now().unix_ms().to_string();
        eventually("its registration is saved", async || {
            (world.rows(ServiceName::EventBus, seen) == [now.clone()]).then_some(())
        })
        .await;
        bus = restart(&world, bus).await;
        assert_eq!(names(), all);
    }
    world.clock.advance_ms(61_000);
    let forgotten = async || row(&world, &bus, "query/leaves").await.is_none().then_some(());
    eventually("one is forgotten", forgotten).await;
    assert_eq!(names(), [all[0], all[2]]);
    assert!(row(&world, &bus, "query/lives").await.is_some());

    // It comes back with its own cursor.
    let back = Subscriber::at(&world, "leaves");
    publish_posts(&bus, 1, 3).await;
    register(&bus, "leaves", 1).await.ok(200);
    acknowledges(&world, &bus, "query/leaves", 3).await;
    assert_eq!(back.sequences(), [[2, 3]]);
}

#[tokio::test]
async fn instances_that_were_alive_when_the_bus_stopped_for_days_are_not_forgotten_at_its_start() {
    let (world, bus) = insecure().await;
    register(&bus, "a", 0).await.ok(200);
    register(&bus, "gone", 0).await.ok(200);
    world.stop(bus).await;
    world.clock.advance_ms(72 * HOUR_MS);
    let bus = world.start_bus().await;
    register(&bus, "a", 0).await.ok(200);
    world.clock.advance_ms(59_000);
    // As long as cursors are saved, which is when it would be forgotten.
    publish_posts(&bus, 1, 1).await;
    let _a = Subscriber::at(&world, "a");
    let saved = "SELECT cursor FROM subscriptions WHERE name = 'query/a'";
    eventually("a cursor is saved", async || {
        (world.rows(ServiceName::EventBus, saved) == ["1"]).then_some(())
    })
    .await;
    assert!(row(&world, &bus, "query/gone").await.is_some());
    world.clock.advance_ms(2_000);
    eventually("it is forgotten", async || row(&world, &bus, "query/gone").await.is_none().then_some(()))
        .await;
    assert!(row(&world, &bus, "query/a").await.is_some());
}

#[tokio::test]
async fn the_instances_of_one_service_leave_places_to_the_others() {
    let (world, bus) = insecure().await;
    for n in 0..64 {
        register(&bus, &format!("i{n}"), 0).await.ok(200);
    }
    let full = register(&bus, "one-more", 0).await;
    let detail = full.problem(ProblemKind::TooManyRequests).detail.unwrap();
    assert!(detail.starts_with("query has 64 instances already; delete one"), "{detail}");
    assert_eq!(full.header("retry-after"), "60");
    register(&bus, "i7", 0).await.ok(200);
    for name in ["query", "posts/i1"] {
        bus.post("/subscriptions", &registration(name, "somewhere", 0)).await.ok(200);
    }
    assert_eq!(unsubscribe(&world, &bus, "query%2Fi0").await.status, 204);
    register(&bus, "one-more", 0).await.ok(200);
}
