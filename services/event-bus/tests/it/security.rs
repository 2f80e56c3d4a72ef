//! Who may publish what, and who may look.

use crate::{bare, log, row, seq, signed, stored};
use event_bus::Config;
use http::Method;
use kit::app::config::parse;
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::deps::Clock;
use kit::runtime::secret::Secret;
use serde_json::{Value, json};
use shared::{EventType, ProblemKind, ServiceName};
use std::sync::{Arc, Mutex};
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
async fn a_service_can_subscribe_only_itself() {
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

/// The settings of a bus with which services may register these addresses.
fn with_urls(world: &World, urls: &[&str]) -> Config {
    let args = ["event-bus"].into_iter().chain(urls.iter().flat_map(|url| ["--subscriber-url", url]));
    let parsed: Config = parse(ServiceName::EventBus, args.map(Into::into)).unwrap();
    Config { subscriber_urls: parsed.subscriber_urls, ..world.bus_config() }
}

fn register(world: &World, service: ServiceName, url: &str) -> Ask {
    let request = json!({"name": service.as_str(), "url": url, "cursor": seq(0)});
    signed(world, service, &request).at("/subscriptions")
}

#[tokio::test]
async fn each_service_registers_only_the_addresses_that_are_configured_for_it() {
    let world = World::secure();
    let urls = ["posts=http://posts:4000", "query=http://query"];
    let bus = world.start(with_urls(&world, &urls), event_bus::build).await;
    bus.send(register(&world, ServiceName::Posts, "http://posts:4000/events")).await.ok(200);
    bus.send(register(&world, ServiceName::Query, "http://query/events")).await.ok(200);
    let before = world.dump(ServiceName::EventBus);
    for (service, url) in [
        (ServiceName::Posts, "http://elsewhere:4000/events"),
        (ServiceName::Posts, "http://posts:4001/events"),
        (ServiceName::Posts, "http://query/events"),
        (ServiceName::Comments, "http://posts:4000/events"),
    ] {
        let detail =
            bus.send(register(&world, service, url)).await.problem(ProblemKind::Forbidden).detail.unwrap();
        assert_eq!(detail, format!("{service} may not receive events at {url}"));
    }
    assert_eq!(world.dump(ServiceName::EventBus), before);
}

#[tokio::test]
async fn a_saved_subscription_follows_the_settings_and_only_an_unknown_subscriber_is_a_warning() {
    let lines = LogLines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let world = World::secure();
    let urls = ["posts=http://old:1,posts=http://other", "comments=http://gone", "query=http://query"];
    let bus = world.start(with_urls(&world, &urls), event_bus::build).await;
    let posts = signed(&world, ServiceName::Posts, &bare(1));
    bus.send(posts).await.ok(200);
    for (service, url) in [
        (ServiceName::Posts, "http://old:1/a/b?c"),
        (ServiceName::Comments, "http://gone/events"),
        (ServiceName::Query, "http://query/events"),
    ] {
        let request = json!({"name": service.as_str(), "url": url, "cursor": seq(1)});
        bus.send(signed(&world, service, &request).at("/subscriptions")).await.ok(200);
    }
    world.stop(bus).await;
    assert_eq!(lines.warnings(), Vec::<Value>::new());

    let urls = ["posts=http://[::1]:2,posts=http://other", "query=http://query"];
    let bus = world.start(with_urls(&world, &urls), event_bus::build).await;
    let of = async |name: &str| {
        row(&world, &bus, name).await.map(|mut row| (row["url"].take(), row["cursor"].take()))
    };
    assert_eq!(of("posts").await, Some((json!("http://[::1]:2/a/b?c"), json!(seq(1)))));
    assert_eq!(of("query").await, Some((json!("http://query/events"), json!(seq(1)))));
    assert_eq!(of("comments").await, None);
    let warnings = lines.warnings();
    let [warning] = &warnings[..] else { panic!("one warning: {warnings:?}") };
    assert_eq!((&warning["subscriber"], &warning["url"]), (&json!("comments"), &json!("http://gone/events")));
    world.stop(bus).await;
    let saved = world.rows(ServiceName::EventBus, "SELECT name, url FROM subscriptions");
    assert_eq!(saved, ["\"posts\" \"http://[::1]:2/a/b?c\"", "\"query\" \"http://query/events\""]);
}

/// What is logged while this lives, one JSON object per line.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl LogLines {
    /// The fields of the lines since the last call that have this value under this name.
    fn with(&self, name: &str, value: &str) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let lines = String::from_utf8(bytes).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line[name] == value).map(|mut line| line["fields"].take()).collect()
    }

    fn events(&self) -> Vec<Value> {
        self.with("target", "security")
    }

    fn warnings(&self) -> Vec<Value> {
        self.with("level", "WARN")
    }
}

#[tokio::test]
async fn a_refusal_is_a_security_event_that_names_who_and_what() {
    let lines = LogLines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let world = World::secure();
    let bus = world.start_bus().await;
    let publication = |body: &Value| signed(&world, ServiceName::Posts, body);
    let registration = json!({"name": "query", "url": "http://query/events", "cursor": seq(0)});
    let mut first = bare(1);
    first["id"] = json!("e1");
    let mut second = bare(2);
    second["id"] = json!("e1");
    let mut forged = bare(3);
    forged["subject"] = json!("p4");
    bus.send(publication(&first)).await.ok(200);
    assert_eq!(lines.events(), Vec::<Value>::new());

    let (events, subscriptions) = ("/events", "/subscriptions");
    let expected = [
        (post(events).json(&first), "signature_refused", events, 401),
        (post(subscriptions).json(&registration), "signature_refused", subscriptions, 401),
        (publication(&event_of(EventType::CommentCreated)), "publication_refused", events, 403),
        (publication(&forged), "publication_refused", events, 422),
        (publication(&second), "publication_refused", events, 409),
        (publication(&registration).at(subscriptions), "subscription_refused", subscriptions, 403),
    ];
    for (ask, event, path, status) in expected {
        assert_eq!(bus.send(ask).await.status, status);
        let [line] = &lines.events()[..] else { panic!("one event: {event} {status}") };
        let named = (&line["event"], &line["path"], &line["status"]);
        assert_eq!(named, (&json!(event), &json!(path), &json!(status)));
    }
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
