//! The bus with its log in NATS JetStream: a real server.

use crate::subscriber::Subscriber;
use crate::{acknowledges, bare, log, publish_posts, row, seq, subscribe};
use event_bus::Config;
use kit::app::StartError;
use kit::app::config::parse;
use serde_json::Value;
use servers::testing::nats_server;
use shared::{ProblemKind, ServiceName};
use testkit::{Running, World};

fn with_log(world: &World, url: &str) -> Config {
    Config { event_log_url: Some(url.parse().unwrap()), ..world.bus_config() }
}

async fn start(world: &World, url: &str) -> Running {
    world.start(with_log(world, url), event_bus::build).await
}

fn places(events: &[Value]) -> Vec<Value> {
    events.iter().map(|event| event["sequence"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_in_the_stream_and_the_subscriptions_are_in_the_store() {
    let Some(server) = nats_server() else { return };
    let world = World::new();
    let bus = start(&world, &server.url()).await;
    let one = Subscriber::at(&world, "one");
    subscribe(&bus, "one", 0, true).await.ok(200);
    publish_posts(&bus, 1, 3).await;
    acknowledges(&world, &bus, "one", 3).await;
    world.stop(bus).await;

    let bus = start(&world, &server.url()).await;
    assert_eq!(row(&world, &bus, "one").await.unwrap()["cursor"], seq(3));
    publish_posts(&bus, 4, 5).await;
    acknowledges(&world, &bus, "one", 5).await;
    let events = one.sequences().concat();
    assert_eq!(events, [1, 2, 3, 4, 5], "each once");
    assert_eq!(places(&log(&world, &bus, "?after=1").await), [seq(2), seq(3), seq(4), seq(5)]);
    assert_eq!(crate::stored(&world), Vec::<String>::new(), "not in the store");

    // As many as the server stores as a whole.
    let many = |count: i64| (1..=count).map(bare).collect::<Value>();
    let detail = bus.post("/events", &many(1_001)).await.problem(ProblemKind::TooLarge).detail.unwrap();
    assert_eq!(detail, "at most 1000 events at once; these are 1001");
    bus.post("/events", &many(1_000)).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_wrong_settings_ends_the_start() {
    let Some(server) = nats_server() else { return };
    let world = World::new();
    let bus = start(&world, &server.url()).await;
    world.stop(bus).await;
    let three = format!("{}/?replicas=3", server.url());
    let error = world.try_start(with_log(&world, &three), event_bus::build).await.unwrap_err();
    assert!(matches!(&error, StartError::Config(_)), "{error}");
    let error = error.to_string();
    assert!(error.contains("the stream ev has num_replicas 1, and must have 3"), "{error}");
    assert!(!error.contains("mini-blog:"), "no password: {error}");
}

#[test]
fn a_refused_url_is_not_repeated() {
    let args = ["event-bus", "--insecure", "--event-log-url", "http://user:hidden@nats"];
    let error = parse::<Config>(ServiceName::EventBus, args.map(Into::into)).unwrap_err().to_string();
    assert!(error.contains("--event-log-url: ") && !error.contains("hidden"), "{error}");
}
