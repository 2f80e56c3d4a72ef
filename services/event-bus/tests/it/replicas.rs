//! Two replicas of the bus on one database: each takes everything, one delivers.

use crate::subscriber::{Answer, Subscriber};
use crate::{acknowledges, bare, publish, publish_posts, row, seq, subscribe, unsubscribe};
use axum::Router;
use axum::routing::post;
use event_bus::Config;
use http::{Method, Request};
use kit::rt;
use kit::runtime::deps::Deps;
use serde_json::{Value, json};
use shared::ProblemKind;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{Running, World, eventually};

/// The URL of an empty database; none where PostgreSQL is not installed.
async fn database(test: &'static str) -> Option<String> {
    rt::unblock(move || servers::testing::postgres_database(test)).await.unwrap()
}

fn config(world: &World, url: &str) -> Config {
    let mut config = world.bus_config();
    config.store.database_url = Some(url.parse().unwrap());
    config
}

/// A world with two replicas. The first one delivers.
async fn two(test: &'static str) -> Option<(World, Running, Running)> {
    let url = database(test).await?;
    let world = World::new();
    let first = world.start_replica("a", config(&world, &url), event_bus::build).await;
    // It delivers before the second one starts.
    let _probe = Subscriber::at(&world, "probe");
    subscribe(&first, "probe", 0, true).await.ok(200);
    publish_posts(&first, 1, 1).await;
    acknowledges(&world, &first, "probe", 1).await;
    assert_eq!(unsubscribe(&world, &first, "probe").await.status, 204);
    let second = world.start_replica("b", config(&world, &url), event_bus::build).await;
    Some((world, first, second))
}

#[tokio::test(flavor = "multi_thread")]
async fn either_replica_takes_publications_reads_and_registrations() {
    let Some((world, first, second)) = two("replicas").await else { return };
    let one = Subscriber::at(&world, "one");
    subscribe(&second, "one", 0, true).await.ok(200);
    for n in 1..=10 {
        publish_posts(if n % 2 == 0 { &first } else { &second }, 10 + n, 10 + n).await;
    }
    for bus in [&first, &second] {
        acknowledges(&world, bus, "one", 11).await;
        let events = eventually("it sees all", async || {
            let events = bus.get("/events").await.ok(200);
            (events.as_array().unwrap().len() == 11).then_some(events)
        })
        .await;
        let places: Vec<_> = events.as_array().unwrap().iter().map(|e| e["sequence"].clone()).collect();
        assert_eq!(places, (1..=11).map(|n| json!(seq(n))).collect::<Vec<_>>());
    }
    assert_eq!(one.sequences().concat(), (1..=11).collect::<Vec<_>>());

    // A consumer that has lost its store, and says so to the replica that does not deliver.
    subscribe(&second, "one", 3, true).await.ok(200);
    eventually("it is served again", async || (one.sequences().concat().len() == 19).then_some(())).await;
    assert_eq!(one.sequences().concat()[11..], [4, 5, 6, 7, 8, 9, 10, 11]);
    acknowledges(&world, &second, "one", 11).await;

    unsubscribe(&world, &second, "nobody").await.problem(ProblemKind::NotFound);
    assert_eq!(unsubscribe(&world, &second, "one").await.status, 204);
    for bus in [&first, &second] {
        let gone = async || row(&world, bus, "one").await.is_none().then_some(());
        eventually("it is unsubscribed everywhere", gone).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tail_that_one_replica_is_told_of_suspends_the_deliveries_of_the_other() {
    let Some((world, first, second)) = two("replicas_lost_tail").await else { return };
    let one = Subscriber::at(&world, "one");
    subscribe(&second, "one", 0, true).await.ok(200);
    acknowledges(&world, &first, "one", 1).await;
    subscribe(&second, "one", 9, true).await.problem(ProblemKind::Conflict);
    for bus in [&first, &second] {
        let held = async || row(&world, bus, "one").await.filter(|row| row["lostTail"] == true);
        let held = eventually("it is held", held).await;
        assert!(held["lastError"].as_str().unwrap().contains("lost its tail"), "{held}");
    }
    publish_posts(&second, 2, 3).await;
    let delivered = tokio::time::timeout(Duration::from_millis(300), one.was_sent(2)).await;
    assert!(delivered.is_err(), "it is held");
    subscribe(&second, "one", 1, true).await.ok(200);
    acknowledges(&world, &second, "one", 3).await;
    assert_eq!(one.sequences(), [vec![1], vec![2, 3]]);
    let released = async || row(&world, &second, "one").await.filter(|row| row.get("lostTail").is_none());
    eventually("nothing is held", released).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_deliveries_go_is_seen_at_either_replica() {
    let Some((world, first, second)) = two("replicas_progress").await else { return };
    let one = Subscriber::at(&world, "one");
    one.usually(Answer::Status(500, vec![], "it hurts\0".into()));
    subscribe(&second, "one", 0, true).await.ok(200);
    for bus in [&first, &second] {
        let failing = async || row(&world, bus, "one").await.filter(|row| row["attempts"].as_i64() > Some(2));
        let failing = eventually("it fails", failing).await;
        let error = failing["lastError"].as_str().unwrap();
        assert!(error.starts_with("answered 500 Internal Server Error: it hurts"), "{error}");
        assert_eq!(failing["lag"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_has_just_appended_is_no_lost_tail_at_the_other() {
    let Some((_world, first, second)) = two("replicas_head").await else { return };
    for n in 2..40 {
        let (publishes, registers) = if n % 2 == 0 { (&first, &second) } else { (&second, &first) };
        assert_eq!(publish(publishes, &bare(n)).await.ok(200)["sequence"], seq(n));
        subscribe(registers, "one", n, true).await.ok(200);
    }
}

/// The program, as a process.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(database: &str) -> Self {
        // Free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_event-bus"))
            .args(["--insecure", "--listen", &format!("127.0.0.1:{port}"), "--database-url", database])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until it is answered with 200: the process may have to start, or have no connection for a moment.
async fn ask(deps: &Deps, method: Method, url: &str, body: &Value) -> Value {
    eventually(url, async || {
        let request = Request::builder().method(method.clone()).uri(url);
        let request =
            request.header("content-type", "application/json").body(body.to_string().into()).unwrap();
        let answer = deps.transport.send(request).await.ok()?;
        (answer.status() == 200).then(|| serde_json::from_slice(answer.body()).unwrap())
    })
    .await
}

/// A subscriber on a port of this machine; returns its address and the sequences that it was sent.
async fn listening_subscriber() -> (String, Arc<Mutex<Vec<i64>>>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&received);
    let take = async move |axum::Json(events): axum::Json<Vec<Value>>| {
        let places = events.iter().map(|event| event["sequence"].as_str().unwrap().parse::<i64>().unwrap());
        sink.lock().unwrap().extend(places);
        "{}"
    };
    let router = Router::new().route("/events", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    rt::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_on_when_the_leader_is_killed() {
    let Some(database) = database("replicas_killed").await else { return };
    let deps = Deps::system().unwrap();
    let (url, received) = listening_subscriber().await;
    let (events, subscriptions) = ("/events", "/subscriptions");
    let mut first = Process::start(&database);
    let registration = json!({"name": "one", "url": url, "cursor": seq(0), "batch": true});
    ask(&deps, Method::POST, &format!("{}{subscriptions}", first.url), &registration).await;
    ask(&deps, Method::POST, &format!("{}{events}", first.url), &bare(1)).await;
    let has = |place: i64| received.lock().unwrap().contains(&place).then_some(());
    eventually("the first one delivers", async || has(1)).await;

    let second = Process::start(&database);
    for n in 2..10 {
        ask(&deps, Method::POST, &format!("{}{events}", second.url), &bare(n)).await;
    }
    eventually("what the second one takes is delivered", async || has(9)).await;
    first.kill();
    for n in 10..20 {
        ask(&deps, Method::POST, &format!("{}{events}", second.url), &bare(n)).await;
    }
    eventually("the second one delivers", async || has(19)).await;
    let mut all = received.lock().unwrap().clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (1..20).collect::<Vec<_>>(), "none is skipped");
    let rows = ask(&deps, Method::GET, &format!("{}{subscriptions}", second.url), &Value::Null).await;
    assert_eq!(rows[0]["name"], "one");
}
