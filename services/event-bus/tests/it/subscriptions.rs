//! `POST /subscriptions`, `GET /subscriptions`, `DELETE /subscriptions/{name}`.

use crate::subscriber::{Answer, Subscriber};
use crate::{acknowledges, insecure, publish_posts, restart, row, seq, subscribe, unsubscribe};
use kit::runtime::deps::Clock;
use serde_json::{Value, json};
use shared::{ProblemKind, ServiceName};
use std::time::Duration;
use testkit::{eventually, get, post};

#[tokio::test]
async fn a_consumer_says_where_it_stands_and_is_told_where_the_log_ends() {
    let (world, bus) = insecure().await;
    assert_eq!(bus.get("/subscriptions").await.ok(200), json!([]));
    assert_eq!(subscribe(&bus, "one", 0, true).await.ok(200), json!({"cursor": seq(0), "head": seq(0)}));
    publish_posts(&bus, 1, 5).await;
    let _two = Subscriber::at(&world, "two");
    assert_eq!(subscribe(&bus, "two", 3, true).await.ok(200), json!({"cursor": seq(3), "head": seq(5)}));
    acknowledges(&world, &bus, "two", 5).await;
    let names: Vec<_> = bus
        .get("/subscriptions")
        .await
        .ok(200)
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].clone())
        .collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn a_subscription_is_remembered_before_it_is_answered() {
    let (world, bus) = insecure().await;
    publish_posts(&bus, 1, 2).await;
    subscribe(&bus, "one", 2, true).await.ok(200);
    let saved = world.rows(ServiceName::EventBus, "SELECT name, cursor, url FROM subscriptions");
    assert_eq!(saved, ["\"one\" 2 \"http://one/events\""]);
}

#[tokio::test]
async fn a_consumer_that_registers_twice_at_once_is_one_subscriber() {
    let (world, bus) = insecure().await;
    let subscriber = Subscriber::at(&world, "one");
    subscriber.will([Answer::Hang(200), Answer::Hang(200)]);
    publish_posts(&bus, 1, 3).await;
    let (first, second) = tokio::join!(subscribe(&bus, "one", 0, true), subscribe(&bus, "one", 0, true));
    assert_eq!((first.status, second.status), (200, 200));
    subscriber.was_sent(1).await;
    let another = tokio::time::timeout(Duration::from_millis(50), subscriber.was_sent(2)).await;
    assert!(another.is_err(), "one delivery at a time");
    subscriber.let_go();
    acknowledges(&world, &bus, "one", 3).await;
    assert_eq!(subscriber.sequences(), [[1, 2, 3]]);
}

#[tokio::test]
async fn the_list_tells_the_truth() {
    let (world, bus) = insecure().await;
    let subscriber = Subscriber::at(&world, "one");
    subscribe(&bus, "one", 0, true).await.ok(200);
    let idle = json!({
        "name": "one", "url": "http://one/events", "cursor": seq(0), "lag": 0, "attempts": 0, "nextRetry": null,
        "lastError": null, "oldestUnackedAgeMs": 0
    });
    assert_eq!(row(&world, &bus, "one").await, Some(idle.clone()));

    subscriber.usually(Answer::Status(500, vec![], "it hurts".into()));
    publish_posts(&bus, 1, 2).await;
    world.clock.advance_ms(60_000);
    publish_posts(&bus, 3, 3).await;
    world.clock.advance_ms(1_500);
    let failing = eventually("it has failed some times", async || {
        row(&world, &bus, "one").await.filter(|row| row["attempts"].as_i64() > Some(5))
    })
    .await;
    assert_eq!((&failing["cursor"], &failing["lag"]), (&json!(seq(0)), &json!(3)));
    assert_eq!(failing["lastError"], "answered 500 Internal Server Error: it hurts");
    assert_eq!(failing["oldestUnackedAgeMs"], 61_500, "the age of the first of them");
    let retry: shared::Timestamp = serde_json::from_value(failing["nextRetry"].clone()).unwrap();
    assert_eq!(retry.ms_since(world.clock.now()), 5, "the backoff of this world");

    subscriber.usually(Answer::status(204));
    let well = acknowledges(&world, &bus, "one", 3).await;
    let mut expected = idle;
    expected["cursor"] = json!(seq(3));
    assert_eq!(well, expected);
}

#[tokio::test]
async fn names_and_urls_that_are_none() {
    let (world, bus) = insecure().await;
    let before = world.dump(ServiceName::EventBus);
    let good = json!({"name": "one", "url": "http://one/events", "cursor": seq(0), "batch": true});
    let with = |field: &str, value: Value| {
        let mut request = good.clone();
        request[field] = value;
        request
    };
    let (long_service, long_instance) = ("x".repeat(65), format!("a/{}", "x".repeat(64)));
    for name in [
        "",
        "a b",
        "Ä",
        "One",
        "a/",
        "/a",
        "a/b/c",
        "a/B",
        "a/..",
        "../x",
        "a_b",
        &long_service,
        &long_instance,
    ] {
        let invalid = bus.post("/subscriptions", &with("name", json!(name))).await.invalid_fields();
        assert_eq!(invalid, ["/name"], "{name}");
    }
    let long = format!("http://one/{}", "x".repeat(2_048 - "http://one/".len() + 1));
    for url in [
        "",
        "one",
        "/events",
        "https://one/events",
        "ftp://one",
        "http://",
        "http:///events",
        "file:///etc/passwd",
        "http://a b/",
        &long,
    ] {
        assert_eq!(
            bus.post("/subscriptions", &with("url", json!(url))).await.invalid_fields(),
            ["/url"],
            "{url}"
        );
    }
    for (field, wrong) in [
        ("name", json!(5)),
        ("name", json!(null)),
        ("url", json!(["http://one"])),
        ("cursor", json!(0)),
        ("cursor", json!("x")),
        ("cursor", json!("-1")),
        ("cursor", json!(null)),
        ("batch", json!("yes")),
        ("lastId", json!(5)),
    ] {
        bus.post("/subscriptions", &with(field, wrong)).await.problem(ProblemKind::Invalid);
    }
    for body in [json!([]), json!(null), json!({}), json!("one"), json!({"name": "one"})] {
        bus.post("/subscriptions", &body).await.problem(ProblemKind::Invalid);
    }
    bus.send(post("/subscriptions").body("text/plain", good.to_string())).await.problem(ProblemKind::NotJson);
    for malformed in ["", "{", "{\"name\":\"one\",", "\u{feff}{}"] {
        let ask = post("/subscriptions").body("application/json", malformed);
        bus.send(ask).await.problem(ProblemKind::MalformedJson);
    }
    let over = format!("{good}{}", " ".repeat(64 * 1024 + 1 - good.to_string().len()));
    bus.send(post("/subscriptions").body("application/json", over)).await.problem(ProblemKind::TooLarge);
    assert_eq!(bus.get("/subscriptions").await.ok(200), json!([]));
    assert_eq!(world.dump(ServiceName::EventBus), before);

    let long_url = format!("http://one/{}", "x".repeat(2_048 - "http://one/".len()));
    for longest in ["x".repeat(64), format!("{}/{}", "x".repeat(64), "x".repeat(63))] {
        let longest = json!({"name": longest, "url": long_url, "cursor": "0"});
        bus.post("/subscriptions", &longest).await.ok(200);
    }
    for url in [
        "http://one",
        "http://127.0.0.1:4000/events",
        "http://[::1]:1/e",
        "http://posts-clusterip-srv:4000/events?x=y",
    ] {
        bus.post("/subscriptions", &with("url", json!(url))).await.ok(200);
    }
}

#[tokio::test]
async fn whoever_registers_again_is_served_at_the_new_address_from_its_own_cursor() {
    let (world, bus) = insecure().await;
    publish_posts(&bus, 1, 4).await;
    let first = Subscriber::at(&world, "first");
    let second = Subscriber::at(&world, "second");
    let at =
        |url: &str, cursor: i64| json!({"name": "one", "url": url, "cursor": seq(cursor), "batch": true});
    bus.post("/subscriptions", &at("http://first/events", 0)).await.ok(200);
    acknowledges(&world, &bus, "one", 4).await;
    bus.post("/subscriptions", &at("http://second/events", 1)).await.ok(200);
    second.was_sent(1).await;
    acknowledges(&world, &bus, "one", 4).await;
    publish_posts(&bus, 5, 5).await;
    second.was_sent(2).await;
    assert_eq!(first.sequences(), [[1, 2, 3, 4]]);
    assert_eq!(second.sequences(), [vec![2, 3, 4], vec![5]]);
    // Its heartbeat, which says nothing new, disturbs nothing.
    for _ in 0..5 {
        bus.post("/subscriptions", &at("http://second/events", 5)).await.ok(200);
    }
    publish_posts(&bus, 6, 6).await;
    second.was_sent(3).await;
    assert_eq!(second.sequences()[2], [6]);
}

#[tokio::test]
async fn the_answer_to_a_delivery_from_before_a_registration_says_nothing_any_more() {
    for status in [200, 500, 410] {
        let (world, bus) = insecure().await;
        let subscriber = Subscriber::at(&world, "one");
        subscriber.will([Answer::Hang(status)]);
        subscribe(&bus, "one", 0, true).await.ok(200);
        publish_posts(&bus, 1, 3).await;
        subscriber.was_sent(1).await;
        // While that one hangs the consumer loses its store and begins again.
        subscribe(&bus, "one", 1, true).await.ok(200);
        subscriber.let_go();
        subscriber.was_sent(2).await;
        let row = acknowledges(&world, &bus, "one", 3).await;
        assert_eq!(subscriber.sequences(), [vec![1, 2, 3], vec![2, 3]], "{status}");
        assert_eq!(row["lastError"], json!(null));
    }
}

#[tokio::test]
async fn unsubscribing_ends_deliveries_for_good() {
    let (world, bus) = insecure().await;
    let subscriber = Subscriber::at(&world, "one");
    let witness = Subscriber::at(&world, "witness");
    subscribe(&bus, "one", 0, true).await.ok(200);
    subscribe(&bus, "witness", 0, true).await.ok(200);
    publish_posts(&bus, 1, 1).await;
    acknowledges(&world, &bus, "one", 1).await;
    let reply = unsubscribe(&world, &bus, "one").await;
    assert_eq!((reply.status, reply.text()), (204, ""));
    for unknown in ["one", "nobody", "%2e%2e", "__proto__"] {
        unsubscribe(&world, &bus, unknown).await.problem(ProblemKind::NotFound);
    }
    let bus = restart(&world, bus).await;
    publish_posts(&bus, 2, 2).await;
    witness.was_sent(2).await;
    assert_eq!(subscriber.deliveries().len(), 1);
    assert_eq!(row(&world, &bus, "one").await, None);
}

#[tokio::test]
async fn there_is_a_most_of_subscribers() {
    let (world, bus) = insecure().await;
    for n in 0..256 {
        subscribe(&bus, &format!("s{n}"), 0, true).await.ok(200);
    }
    let full = subscribe(&bus, "one-more", 0, true).await;
    full.problem(ProblemKind::TooManyRequests);
    assert_eq!(full.header("retry-after"), "60");
    subscribe(&bus, "s7", 0, true).await.ok(200);
    assert_eq!(unsubscribe(&world, &bus, "s0").await.status, 204);
    subscribe(&bus, "one-more", 0, true).await.ok(200);
    let rows = bus.send(get("/subscriptions")).await.ok(200);
    assert_eq!(rows.as_array().unwrap().len(), 256);
}

#[tokio::test]
async fn a_restart_keeps_subscribers_and_where_they_stand() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    let single = Subscriber::at(&world, "single");
    subscribe(&bus, "one", 0, true).await.ok(200);
    subscribe(&bus, "single", 0, false).await.ok(200);
    subscribe(&bus, "away", 0, true).await.ok(200);
    publish_posts(&bus, 1, 3).await;
    acknowledges(&world, &bus, "one", 3).await;
    acknowledges(&world, &bus, "single", 3).await;
    let bus = restart(&world, bus).await;
    for (name, cursor) in [("one", 3), ("single", 3), ("away", 0)] {
        let row = row(&world, &bus, name).await.unwrap();
        assert_eq!(
            (&row["cursor"], &row["url"]),
            (&json!(seq(cursor)), &json!(format!("http://{name}/events")))
        );
    }
    publish_posts(&bus, 4, 5).await;
    acknowledges(&world, &bus, "one", 5).await;
    acknowledges(&world, &bus, "single", 5).await;
    assert_eq!(one.sequences().concat(), [1, 2, 3, 4, 5]);
    assert_eq!(single.sequences(), [[1], [2], [3], [4], [5]], "one by one, as it asked for");
    let away = Subscriber::at(&world, "away");
    acknowledges(&world, &bus, "away", 5).await;
    assert_eq!(away.sequences().concat(), [1, 2, 3, 4, 5]);
    assert!(tokio::time::timeout(Duration::from_millis(20), one.was_sent(9)).await.is_err());
}

#[tokio::test]
async fn who_comes_back_after_leaving_is_remembered_too() {
    let (world, bus) = insecure().await;
    subscribe(&bus, "one", 0, true).await.ok(200);
    let saved = || !world.rows(ServiceName::EventBus, "SELECT name FROM subscriptions").is_empty();
    eventually("it is saved", async || saved().then_some(())).await;
    assert_eq!(unsubscribe(&world, &bus, "one").await.status, 204);
    assert!(!saved());
    subscribe(&bus, "one", 0, true).await.ok(200);
    let bus = restart(&world, bus).await;
    assert!(row(&world, &bus, "one").await.is_some());
}
