//! Slow, broken and hostile subscribers, and a good one beside them.

use serde_json::{Value, json};
use shared::ServiceName;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use system_tests::bus::post_created;
use system_tests::fake_subscriber::{Behaviour, FakeSubscriber};
use system_tests::latency::Latency;
use system_tests::single_service::SingleService;
use system_tests::{LIMIT, eventually, holds, processes};

/// How many events each half of the measurement has.
const EVENTS: usize = 300;

async fn subscribe(bus: &SingleService, name: &str, url: &str) {
    let request = json!({ "name": name, "url": url, "cursor": "0", "batch": true });
    bus.place.post("/subscriptions").json(&request).send().await.expect(200);
}

/// The rows of `GET /subscriptions` by name.
async fn rows(bus: &SingleService) -> BTreeMap<String, Value> {
    let rows = bus.place.get("/subscriptions").send().await.expect(200).json();
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| (row["name"].as_str().expect("a name").to_owned(), row.clone())).collect()
}

async fn publish(bus: &SingleService, n: usize) {
    bus.place.post("/events").json(&post_created(&format!("p{n}"), "T")).send().await.expect(200);
}

/// The sequences of all events that a subscriber has received.
fn sequences(subscriber: &FakeSubscriber) -> Vec<usize> {
    let events = subscriber.received().into_iter().flat_map(|received| {
        let body: Value = serde_json::from_str(&received.body).expect("JSON");
        body.as_array().cloned().unwrap_or_else(|| vec![body])
    });
    events.map(|e| e["sequence"].as_str().and_then(|s| s.parse().ok()).expect("a place")).collect()
}

/// Publishes events with short pauses; returns how long they took to the good subscriber.
async fn delays(bus: &SingleService, good: &FakeSubscriber, from: usize) -> Latency {
    let mut begun = Vec::new();
    for n in from..from + EVENTS {
        begun.push((n, Instant::now()));
        publish(bus, n).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    eventually(LIMIT, "the good one has received all", async || {
        holds(sequences(good).len(), |count| *count == from + EVENTS - 1)
    })
    .await;
    let mut arrived = BTreeMap::new();
    for received in good.received() {
        for event in serde_json::from_str::<Vec<Value>>(&received.body).expect("a batch") {
            arrived.insert(event["data"]["id"].as_str().expect("an id").to_owned(), received.at);
        }
    }
    Latency::of(begun.iter().map(|(n, at)| arrived[&format!("p{n}")] - *at).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_served_as_ever_beside_others_that_are_hostile() {
    let bus = SingleService::start(ServiceName::EventBus).await;
    let good = FakeSubscriber::start(Behaviour::Good).await;
    subscribe(&bus, "good", &good.url).await;
    let alone = delays(&bus, &good, 1).await;
    let (files, memory) = (processes::open_files(bus.pid()), processes::memory_kib(bus.pid()));

    let trap = FakeSubscriber::start(Behaviour::Good).await;
    let hostile = [
        ("slow", Behaviour::Slow(Duration::from_secs(2)), ""),
        ("hung", Behaviour::Hung, "no answer in time"),
        ("garbage", Behaviour::Garbage, "the exchange failed"),
        ("failing", Behaviour::Failing, "answered 500"),
        ("redirecting", Behaviour::Redirecting(trap.url.clone()), "answered 302"),
        ("endless-body", Behaviour::EndlessBody, "the answer is too large"),
        ("endless-head", Behaviour::EndlessHead, "the exchange failed"),
        ("away", Behaviour::Away, "the exchange failed"),
    ];
    let mut subscribers = Vec::new();
    for (name, behaviour, _) in &hostile {
        let subscriber = FakeSubscriber::start(behaviour.clone()).await;
        subscribe(&bus, name, &subscriber.url).await;
        subscribers.push(subscriber);
    }
    let beside = delays(&bus, &good, EVENTS + 1).await;
    beside.assert_like(alone, "a delivery to the good subscriber, alone and then beside hostile ones");
    // The good one is at the end of the log while those that failed have not moved.
    let total = 2 * EVENTS;
    assert_eq!(sequences(&good), (1..=total).collect::<Vec<_>>(), "each once, in order");
    let now = rows(&bus).await;
    for (name, _, error) in &hostile {
        if !error.is_empty() {
            assert_eq!(now[*name]["lag"], total, "{}", now[*name]);
        }
    }

    // The list of subscriptions names the reason of each.
    for (name, _, error) in hostile.iter().filter(|(_, _, error)| !error.is_empty()) {
        let row = eventually(LIMIT, &format!("the reason of {name}"), async || {
            let row = rows(&bus).await.remove(*name).unwrap_or_default();
            holds(row, |row| row["lastError"].as_str().is_some_and(|why| why.contains(error)))
        })
        .await;
        assert!(row["attempts"].as_u64() > Some(0) && row["nextRetry"].is_string(), "{row}");
    }
    let failing = &subscribers[3];
    eventually(LIMIT, "as many attempts are listed as arrived", async || {
        let listed = rows(&bus).await["failing"]["attempts"].as_u64();
        let came = failing.received().len() as u64;
        if listed == Some(came) && came > 3 { Ok(()) } else { Err(format!("{listed:?} listed, {came} came")) }
    })
    .await;
    assert_eq!(
        sequences(&subscribers[0])[..EVENTS],
        (1..=EVENTS).collect::<Vec<_>>(),
        "the slow one is served"
    );
    assert!(trap.received().is_empty(), "the bus follows no redirect");

    // Sockets and memory are bounded: at most one exchange with each at a time.
    for (subscriber, (name, ..)) in subscribers.iter().zip(&hostile) {
        assert!(subscriber.open_connections() <= 2, "{name}: {}", subscriber.open_connections());
    }
    let (more_files, more_memory) =
        (processes::open_files(bus.pid()), processes::memory_kib(bus.pid()).saturating_sub(memory));
    assert!(more_files <= files + 2 * hostile.len() + 4, "{files} files, then {more_files}");
    assert!(more_memory < 64 * 1024, "{more_memory} KiB more");
    // Each receives everything once it behaves well.
    for (subscriber, (name, ..)) in subscribers.iter().zip(&hostile) {
        subscriber.set_behaviour(Behaviour::Good);
        eventually(LIMIT, &format!("{name} has caught up"), async || {
            holds(rows(&bus).await[*name].clone(), |row| row["lag"] == 0 && row["lastError"].is_null())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_consumers_that_come_back_at_once_are_not_served_in_step() {
    const CONSUMERS: usize = 100;
    let bus = SingleService::start(ServiceName::EventBus).await;
    let all = FakeSubscriber::start(Behaviour::Away).await;
    for n in 0..CONSUMERS {
        subscribe(&bus, &format!("c{n}"), &format!("{}/c{n}", all.url)).await;
    }
    publish(&bus, 1).await;
    // After seven failures each waits up to 3.2 seconds for its next attempt.
    eventually(LIMIT, "each has failed seven times", async || {
        holds(rows(&bus).await, |rows| rows.values().all(|row| row["attempts"].as_u64() >= Some(7)))
    })
    .await;
    let back = Instant::now();
    all.set_behaviour(Behaviour::Good);
    eventually(LIMIT, "each has received its event", async || {
        holds(rows(&bus).await, |rows| rows.values().all(|row| row["lag"] == 0))
    })
    .await;
    let mut first = BTreeMap::new();
    for received in all.received() {
        first.entry(received.path.clone()).or_insert(received.at);
    }
    assert_eq!(first.len(), CONSUMERS);
    let mut tenths: BTreeMap<u128, usize> = BTreeMap::new();
    for at in first.values() {
        *tenths.entry(at.saturating_duration_since(back).as_millis() / 100).or_default() += 1;
    }
    let busiest = tenths.values().max().copied().unwrap_or_default();
    println!(
        "{CONSUMERS} consumers came back over {} tenths of a second; {busiest} in the busiest",
        tenths.len()
    );
    assert!(busiest <= CONSUMERS / 3 && tenths.len() >= 10, "{tenths:?}");
}
