//! Deliveries: in order, to each at its own pace, for as long as it takes.

use crate::subscriber::{Answer, Subscriber};
use crate::{
    acknowledges, bare, insecure, log, publish, publish_posts, restart, row, seq, signed, subscribe,
};
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::deps::Clock;
use kit::runtime::secret::Secret;
use kit::runtime::trace::TraceContext;
use serde_json::json;
use shared::{ServiceName, Timestamp};
use std::time::{Duration, Instant};
use testkit::{World, eventually, post};

#[tokio::test]
async fn a_delivery_is_a_signed_batch_of_the_log() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let query = Subscriber::at(&world, "query");
    let request = json!({"name": "query", "url": "http://query/events", "cursor": seq(0), "batch": true});
    let ask = post("/subscriptions").json(&request);
    bus.send(ask.signed(&world, ServiceName::Query, Direction::Publish)).await.ok(200);
    bus.send(signed(&world, ServiceName::Posts, &json!([bare(1), bare(2)]))).await.ok(200);
    let [delivery] = &query.was_sent(1).await[..] else { panic!("one delivery") };
    assert_eq!(delivery.header("content-type"), "application/cloudevents-batch+json");
    assert_eq!(delivery.events(), log(&world, &bus, "").await);

    let key = |service, direction| SigningKey::derive(&world.secret(service).unwrap(), direction);
    let verify = |key: SigningKey| key.verify(&delivery.headers, world.clock.now(), &delivery.body).is_ok();
    assert!(verify(key(ServiceName::Query, Direction::Deliver)));
    assert!(!verify(key(ServiceName::Query, Direction::Publish)), "it is no use as a publication");
    assert!(!verify(key(ServiceName::Posts, Direction::Deliver)), "nor to anybody else");
    assert!(!verify(SigningKey::derive(&Secret::new("0123456789abcdef").unwrap(), Direction::Deliver)));
}

#[tokio::test]
async fn a_delivery_continues_the_trace_of_its_first_event() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut first = bare(1);
    first["traceparent"] = json!(format!("00-{trace}-00f067aa0ba902b7-01"));
    publish(&bus, &json!([first, bare(2)])).await;
    subscribe(&bus, "one", 0, true).await.ok(200);
    one.was_sent(1).await;
    publish(&bus, &bare(3)).await;
    acknowledges(&world, &bus, "one", 3).await;
    let contexts =
        one.deliveries().iter().map(|d| d.header("traceparent").parse().unwrap()).collect::<Vec<_>>();
    let contexts: &[TraceContext] = &contexts;
    let [continued, .., fresh] = contexts else { panic!("two deliveries") };
    assert_eq!(format!("{:032x}", continued.trace_id), trace);
    assert_ne!(continued.parent_id, 0x00f0_67aa_0ba9_02b7, "a step of its own");
    assert_ne!(continued.trace_id, fresh.trace_id);
}

#[tokio::test]
async fn who_asks_for_it_gets_one_event_per_request() {
    let (world, bus) = insecure().await;
    let single = Subscriber::at(&world, "single");
    publish_posts(&bus, 1, 3).await;
    subscribe(&bus, "single", 1, false).await.ok(200);
    let deliveries = single.was_sent(2).await;
    assert!(deliveries.iter().all(|d| d.header("content-type") == "application/json"));
    assert_eq!(single.sequences(), [[2], [3]]);
    assert!(deliveries[0].body.starts_with(b"{"), "not an array");
}

#[tokio::test]
async fn a_delivery_is_bounded_in_events_and_bytes() {
    let (world, bus) = insecure().await;
    let many = Subscriber::at(&world, "many");
    publish_posts(&bus, 1, 4_000).await;
    publish_posts(&bus, 4_001, 4_400).await;
    // While it is sent the first events, the next ones are read, which it then does not want yet.
    many.will([Answer::Rewind(100)]);
    subscribe(&bus, "many", 0, true).await.ok(200);
    acknowledges(&world, &bus, "many", 4_400).await;
    let sent = many.sequences().into_iter().map(|sent| (sent[0], sent.len())).collect::<Vec<_>>();
    assert_eq!(sent, [(1, 4_096), (101, 4_096), (4_197, 204)]);
    assert!(many.sequences().iter().all(|sent| sent.is_sorted()));

    // While it holds an answer back, more is published than one delivery may hold.
    many.will([Answer::Hang(200)]);
    publish_posts(&bus, 4_401, 4_401).await;
    many.was_sent(4).await;
    let large = json!({"type": "Any", "data": "x".repeat(1024 * 1024 - 2)});
    for _ in 0..5 {
        publish(&bus, &large).await;
    }
    many.let_go();
    acknowledges(&world, &bus, "many", 4_406).await;
    assert_eq!(many.sequences()[4..], [vec![4_402, 4_403, 4_404], vec![4_405, 4_406]]);
    assert!(many.deliveries().iter().all(|d| d.body.len() <= 4 * 1024 * 1024));
}

#[tokio::test]
async fn a_consumer_says_where_to_go_on_from() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    publish_posts(&bus, 1, 6).await;
    // It was restored from a backup; then it turns out to know more than the bus thought.
    one.will([Answer::Rewind(1), Answer::Rewind(4)]);
    subscribe(&bus, "one", 3, true).await.ok(200);
    acknowledges(&world, &bus, "one", 6).await;
    assert_eq!(one.sequences(), [vec![4, 5, 6], vec![2, 3, 4, 5, 6], vec![5, 6]]);
    assert_eq!(row(&world, &bus, "one").await.unwrap()["attempts"], 0, "that is no failure");

    // All of it, from the very beginning.
    one.will([Answer::Rewind(0)]);
    publish_posts(&bus, 7, 7).await;
    acknowledges(&world, &bus, "one", 7).await;
    assert_eq!(one.sequences()[3..], [vec![7], vec![1, 2, 3, 4, 5, 6, 7]]);
}

#[tokio::test]
async fn a_rewind_that_makes_no_sense_is_a_failure_like_any_other() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    publish_posts(&bus, 1, 2).await;
    one.will([
        Answer::Rewind(0),
        Answer::status(409),
        Answer::Status(409, vec![], r#"{"cursor":1}"#.into()),
        Answer::Status(409, vec![], r#"{"cursor":"-1"}"#.into()),
        Answer::Status(409, vec![], "x".repeat(100_000)),
    ]);
    one.usually(Answer::Rewind(0));
    subscribe(&bus, "one", 0, true).await.ok(200);
    one.was_sent(7).await;
    let failing = eventually("it has failed", async || {
        row(&world, &bus, "one").await.filter(|row| row["lastError"] == "asks again for what it was sent")
    })
    .await;
    assert!(failing["attempts"].as_i64() > Some(4) && failing["nextRetry"].is_string(), "{failing}");
    one.usually(Answer::status(200));
    acknowledges(&world, &bus, "one", 2).await;
}

#[tokio::test]
async fn what_fails_is_tried_again_for_as_long_as_it_takes() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    one.will([500, 502, 400, 401, 404, 413, 422, 301, 302, 503, 429].map(Answer::status));
    subscribe(&bus, "one", 0, true).await.ok(200);
    publish_posts(&bus, 1, 2).await;
    acknowledges(&world, &bus, "one", 2).await;
    assert_eq!(one.deliveries().len(), 12);
    assert!(one.sequences().iter().all(|sequences| *sequences == [1] || *sequences == [1, 2]));

    world.network.disconnect("one");
    publish_posts(&bus, 3, 3).await;
    let unreachable = eventually("it cannot be reached", async || {
        row(&world, &bus, "one").await.filter(|row| row["attempts"].as_i64() > Some(3))
    })
    .await;
    assert!(unreachable["lastError"].as_str().unwrap().contains("cannot connect"), "{unreachable}");
    one.appear(&world, "one");
    let well = acknowledges(&world, &bus, "one", 3).await;
    assert_eq!(
        (&well["attempts"], &well["lastError"], &well["nextRetry"]),
        (&json!(0), &json!(null), &json!(null))
    );
}

#[tokio::test]
async fn who_asks_for_time_gets_it() {
    let (world, bus) = insecure().await;
    for (name, status) in [("busy", 429), ("away", 503)] {
        let one = Subscriber::at(&world, name);
        one.will([Answer::retry_after(status, 1), Answer::retry_after(status, 7)]);
        subscribe(&bus, name, 0, true).await.ok(200);
    }
    let begun = Instant::now();
    publish_posts(&bus, 1, 1).await;
    for (name, status) in [("busy", "429"), ("away", "503")] {
        let waits = eventually("it is told to wait again", async || {
            row(&world, &bus, name).await.filter(|row| row["attempts"] == 2)
        })
        .await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
        let next: Timestamp = serde_json::from_value(waits["nextRetry"].clone()).unwrap();
        assert_eq!(next.ms_since(world.clock.now()), 7_000);
        assert!(waits["lastError"].as_str().unwrap().contains(status), "{waits}");
        // A heartbeat changes nothing; a start says that there is no need to wait any longer.
        subscribe(&bus, name, 0, true).await.ok(200);
        assert_eq!(row(&world, &bus, name).await.unwrap(), waits);
        let url = format!("http://{name}/events");
        let start = json!({"name": name, "url": url, "cursor": seq(0), "batch": true, "started": true});
        bus.post("/subscriptions", &start).await.ok(200);
        acknowledges(&world, &bus, name, 1).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_absurd_retry_after_is_not_believed() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    let odd = |value: &str| Answer::Status(503, vec![("retry-after", value.into())], String::new());
    one.will([odd("Wed, 21 Oct 2099 07:28:00 GMT"), odd("-5"), odd("soon"), odd("31536000")]);
    subscribe(&bus, "one", 0, true).await.ok(200);
    publish_posts(&bus, 1, 1).await;
    one.was_sent(4).await;
    let waits =
        eventually("it waits", async || row(&world, &bus, "one").await.filter(|row| row["attempts"] == 4))
            .await;
    let next: Timestamp = serde_json::from_value(waits["nextRetry"].clone()).unwrap();
    assert_eq!(next.ms_since(world.clock.now()), 300_000);
}

#[tokio::test]
async fn who_wants_no_more_is_unsubscribed() {
    let (world, bus) = insecure().await;
    let one = Subscriber::at(&world, "one");
    let witness = Subscriber::at(&world, "witness");
    one.will([Answer::status(200), Answer::status(410)]);
    for name in ["one", "witness"] {
        subscribe(&bus, name, 0, true).await.ok(200);
    }
    publish_posts(&bus, 1, 1).await;
    acknowledges(&world, &bus, "one", 1).await;
    publish_posts(&bus, 2, 2).await;
    eventually("it is gone", async || row(&world, &bus, "one").await.is_none().then_some(())).await;
    acknowledges(&world, &bus, "witness", 2).await;
    let bus = restart(&world, bus).await;
    publish_posts(&bus, 3, 3).await;
    acknowledges(&world, &bus, "witness", 3).await;
    assert_eq!((one.deliveries().len(), witness.sequences().concat()), (2, vec![1, 2, 3]));
    assert_eq!(row(&world, &bus, "one").await, None);
    // It may change its mind.
    subscribe(&bus, "one", 1, true).await.ok(200);
    acknowledges(&world, &bus, "one", 3).await;
}

#[tokio::test]
async fn nobody_waits_for_a_slow_or_failing_subscriber() {
    let (world, bus) = insecure().await;
    let slow = Subscriber::at(&world, "slow");
    slow.usually(Answer::Hang(200));
    let failing = Subscriber::at(&world, "failing");
    failing.usually(Answer::status(500));
    let quick = Subscriber::at(&world, "quick");
    for name in ["slow", "failing", "nowhere", "quick"] {
        subscribe(&bus, name, 0, true).await.ok(200);
    }
    for n in 1..=30 {
        publish(&bus, &bare(n)).await;
        acknowledges(&world, &bus, "quick", n).await;
    }
    assert_eq!(quick.sequences().concat(), (1..=30).collect::<Vec<_>>());
    assert_eq!(slow.deliveries().len(), 1, "and a slow one is sent one thing at a time");
    slow.let_go();
    failing.usually(Answer::status(200));
    for name in ["slow", "failing"] {
        acknowledges(&world, &bus, name, 30).await;
    }
}

#[tokio::test]
async fn everybody_is_sent_every_event_in_the_order_of_the_log() {
    let (world, bus) = insecure().await;
    let subscribers: Vec<_> = (0..8).map(|n| Subscriber::at(&world, &format!("s{n}"))).collect();
    for (n, subscriber) in subscribers.iter().enumerate() {
        // Each fails in its own rhythm.
        subscriber.will((0..40).map(|at| Answer::status(if at % (n + 2) == 0 { 500 } else { 200 })));
        subscribe(&bus, &format!("s{n}"), 0, n % 2 == 0).await.ok(200);
    }
    for n in 1..=40 {
        publish(&bus, &bare(n)).await;
    }
    for (n, subscriber) in subscribers.iter().enumerate() {
        acknowledges(&world, &bus, &format!("s{n}"), 40).await;
        // What was not acknowledged comes again, and nothing comes before it.
        let mut acknowledged = 0;
        for (at, delivery) in subscriber.sequences().iter().enumerate() {
            assert_eq!(delivery[0], acknowledged + 1, "nothing is left out");
            if at % (n + 2) != 0 || at >= 40 {
                acknowledged = *delivery.last().unwrap();
            }
        }
        assert_eq!(acknowledged, 40);
    }
}
