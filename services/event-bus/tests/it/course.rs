//! A plain service of the course, subscribed by configuration.

use crate::subscriber::{Answer, Subscriber};
use crate::{acknowledges, bare, publish_posts, restart, row, signed};
use event_bus::Config;
use kit::messaging::signature::Direction;
use serde_json::json;
use shared::ServiceName;
use std::ffi::OsString;
use testkit::{World, eventually, post};

fn config(world: &World) -> Config {
    Config { subscribe: vec![("legacy".into(), "http://legacy/events".into())], ..world.bus_config() }
}

#[tokio::test]
async fn it_gets_one_event_per_request_as_the_course_sends_it() {
    let world = World::secure();
    let legacy = Subscriber::at(&world, "legacy");
    let bus = world.start(config(&world), event_bus::build).await;
    let ask = post("/events").json(&json!([bare(1), bare(2)]));
    bus.send(ask.signed(&world, ServiceName::Posts, Direction::Publish)).await.ok(200);
    acknowledges(&world, &bus, "legacy", 2).await;
    for (n, delivery) in (1..).zip(legacy.was_sent(2).await) {
        assert_eq!(delivery.header("content-type"), "application/json");
        assert!(!delivery.headers.contains_key("webhook-signature"), "it has no secret");
        let [event] = &delivery.events()[..] else { panic!("one event") };
        assert!(delivery.body.starts_with(b"{"), "not an array");
        assert_eq!((&event["type"], &event["data"]), (&json!("PostCreated"), &bare(n)["data"]));
    }
    assert_eq!(row(&world, &bus, "legacy").await.unwrap()["url"], "http://legacy/events");
}

#[tokio::test]
async fn whatever_it_answers_is_an_answer() {
    let world = World::new();
    let legacy = Subscriber::at(&world, "legacy");
    legacy.will([500, 404, 400, 410, 429].map(Answer::status));
    legacy.will([Answer::retry_after(503, 60), Answer::Rewind(0), Answer::Rewind(99)]);
    let bus = world.start(config(&world), event_bus::build).await;
    publish_posts(&bus, 1, 10).await;
    let row = acknowledges(&world, &bus, "legacy", 10).await;
    assert_eq!(legacy.sequences().concat(), (1..=10).collect::<Vec<_>>(), "none twice");
    assert_eq!((&row["attempts"], row.get("lostTail")), (&json!(0), None));
}

#[tokio::test]
async fn it_is_tried_again_while_it_cannot_be_reached() {
    let world = World::new();
    let bus = world.start(config(&world), event_bus::build).await;
    publish_posts(&bus, 1, 3).await;
    eventually("it is tried some times", async || {
        row(&world, &bus, "legacy").await.filter(|row| row["attempts"].as_i64() > Some(3))
    })
    .await;
    let legacy = Subscriber::at(&world, "legacy");
    acknowledges(&world, &bus, "legacy", 3).await;
    assert_eq!(legacy.sequences(), [[1], [2], [3]]);
}

#[tokio::test]
async fn a_restart_knows_where_it_stood_and_a_new_address_is_taken() {
    let world = World::new();
    let legacy = Subscriber::at(&world, "legacy");
    let bus = world.start(config(&world), event_bus::build).await;
    publish_posts(&bus, 1, 3).await;
    acknowledges(&world, &bus, "legacy", 3).await;
    world.stop(bus).await;
    let moved = Subscriber::at(&world, "moved");
    let mut config = config(&world);
    config.subscribe[0].1 = "http://moved/events".into();
    let bus = world.start(config, event_bus::build).await;
    publish_posts(&bus, 4, 5).await;
    acknowledges(&world, &bus, "legacy", 5).await;
    assert_eq!(legacy.sequences().concat(), [1, 2, 3]);
    assert_eq!(moved.sequences(), [[4], [5]]);
    moved.will([Answer::status(500)]);
    publish_posts(&bus, 6, 7).await;
    acknowledges(&world, &bus, "legacy", 7).await;
    assert_eq!(moved.sequences().concat(), [4, 5, 6, 7], "it keeps the course's protocol");
}

#[test]
fn subscribers_are_written_as_name_and_url() {
    let parse = |value: &str| {
        let args = ["event-bus", "--insecure", "--subscribe", value].map(OsString::from);
        kit::app::config::parse::<Config>(ServiceName::EventBus, args).map(|config| config.subscribe)
    };
    let pair = |name: &str, url: &str| (name.to_owned(), url.to_owned());
    assert_eq!(parse("a=http://x:1/events").unwrap(), [pair("a", "http://x:1/events")]);
    assert_eq!(
        parse("a=http://x/e,b=http://y/e?q=1").unwrap(),
        [pair("a", "http://x/e"), pair("b", "http://y/e?q=1")]
    );
    for bad in ["a", "=http://x", "a=x", "a=https://x/e", "a=http://x/e,b"] {
        assert!(parse(bad).unwrap_err().to_string().contains("name=http://host:port/events"), "{bad}");
    }
}

#[tokio::test]
async fn one_that_is_no_longer_configured_is_forgotten() {
    let world = World::secure();
    let legacy = Subscriber::at(&world, "legacy");
    let bus = world.start(config(&world), event_bus::build).await;
    bus.send(signed(&world, ServiceName::Posts, &bare(1))).await.ok(200);
    acknowledges(&world, &bus, "legacy", 1).await;
    let bus = restart(&world, bus).await;
    assert_eq!(row(&world, &bus, "legacy").await, None);
    assert_eq!(world.rows(ServiceName::EventBus, "SELECT name FROM subscriptions"), [""; 0]);
    bus.send(signed(&world, ServiceName::Posts, &bare(2))).await.ok(200);
    world.stop(bus).await;

    // Configured again, it is a new one: from the beginning.
    let bus = world.start(config(&world), event_bus::build).await;
    acknowledges(&world, &bus, "legacy", 2).await;
    assert_eq!(legacy.sequences(), [[1], [1], [2]]);
}
