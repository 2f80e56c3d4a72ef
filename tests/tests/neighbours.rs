//! Subscribers that are slow, broken or hostile, and the one beside them that is not.

use serde_json::{Value, json};
use shared::ServiceName;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use system_tests::bus::post_created;
use system_tests::lone::Lone;
use system_tests::neighbour::{Manner, Neighbour};
use system_tests::{LIMIT, eventually, holds, processes};

/// How many events each half of the measurement has.
const EVENTS: usize = 300;

async fn subscribe(bus: &Lone, name: &str, url: &str) {
    let request = json!({ "name": name, "url": url, "cursor": "0", "batch": true });
    bus.place.post("/subscriptions").json(&request).send().await.expect(200);
}

/// The rows of `GET /subscriptions` by name.
async fn rows(bus: &Lone) -> BTreeMap<String, Value> {
    let rows = bus.place.get("/subscriptions").send().await.expect(200).json();
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| (row["name"].as_str().expect("a name").to_owned(), row.clone())).collect()
}

async fn publish(bus: &Lone, n: usize) {
    bus.place.post("/events").json(&post_created(&format!("p{n}"), "T")).send().await.expect(200);
}

/// The places in the log of all that a neighbour was sent.
fn sequences(neighbour: &Neighbour) -> Vec<usize> {
    let events = neighbour.taken().into_iter().flat_map(|taken| {
        let body: Value = serde_json::from_str(&taken.body).expect("JSON");
        body.as_array().cloned().unwrap_or_else(|| vec![body])
    });
    events.map(|e| e["sequence"].as_str().and_then(|s| s.parse().ok()).expect("a place")).collect()
}

/// Publishes events at a walking pace; gives back how long each took to the good subscriber: p50 and p99 in
/// milliseconds.
async fn delays(bus: &Lone, good: &Neighbour, from: usize) -> (f64, f64) {
    let mut begun = Vec::new();
    for n in from..from + EVENTS {
        begun.push((n, Instant::now()));
        publish(bus, n).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    eventually(LIMIT, "the good one has them all", async || {
        holds(sequences(good).len(), |count| *count == from + EVENTS - 1)
    })
    .await;
    let mut arrived = BTreeMap::new();
    for taken in good.taken() {
        for event in serde_json::from_str::<Vec<Value>>(&taken.body).expect("a batch") {
            arrived.insert(event["data"]["id"].as_str().expect("an id").to_owned(), taken.at);
        }
    }
    let took = begun.iter().map(|(n, at)| (arrived[&format!("p{n}")] - *at).as_secs_f64() * 1_000.0);
    let mut took: Vec<_> = took.collect();
    took.sort_by(f64::total_cmp);
    (took[EVENTS / 2], took[EVENTS * 99 / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_served_as_ever_beside_others_that_are_hostile() {
    let bus = Lone::start(ServiceName::EventBus).await;
    let good = Neighbour::new(Manner::Good).await;
    subscribe(&bus, "good", &good.url).await;
    let alone = delays(&bus, &good, 1).await;
    let (files, memory) = (processes::open_files(bus.pid()), processes::memory_kib(bus.pid()));

    let trap = Neighbour::new(Manner::Good).await;
    let hostile = [
        ("slow", Manner::Slow(Duration::from_secs(2)), ""),
        ("hung", Manner::Hung, "no answer in time"),
        ("garbage", Manner::Garbage, "the exchange failed"),
        ("failing", Manner::Failing, "answered 500"),
        ("redirecting", Manner::Redirecting(trap.url.clone()), "answered 302"),
        ("endless-body", Manner::EndlessBody, "the answer is larger"),
        ("endless-head", Manner::EndlessHead, "the exchange failed"),
        ("away", Manner::Away, "the exchange failed"),
    ];
    let mut neighbours = Vec::new();
    for (name, manner, _) in &hostile {
        let neighbour = Neighbour::new(manner.clone()).await;
        subscribe(&bus, name, &neighbour.url).await;
        neighbours.push(neighbour);
    }
    let beside = delays(&bus, &good, EVENTS + 1).await;
    // The good one is at the end of the log, and those that failed have not moved: nobody waits for anybody.
    let total = 2 * EVENTS;
    assert_eq!(sequences(&good), (1..=total).collect::<Vec<_>>(), "each once, in order");
    let now = rows(&bus).await;
    for (name, _, error) in &hostile {
        if !error.is_empty() {
            assert_eq!(now[*name]["lag"], total, "{}", now[*name]);
        }
    }

    // What the list says of each is true.
    for (name, _, error) in hostile.iter().filter(|(_, _, error)| !error.is_empty()) {
        let row = eventually(LIMIT, &format!("the reason of {name}"), async || {
            let row = rows(&bus).await.remove(*name).unwrap_or_default();
            holds(row, |row| row["lastError"].as_str().is_some_and(|why| why.contains(error)))
        })
        .await;
        assert!(row["attempts"].as_u64() > Some(0) && row["nextRetry"].is_string(), "{row}");
    }
    let failing = &neighbours[3];
    eventually(LIMIT, "as many attempts are listed as arrived", async || {
        let listed = rows(&bus).await["failing"]["attempts"].as_u64();
        let came = failing.taken().len() as u64;
        if listed == Some(came) && came > 3 { Ok(()) } else { Err(format!("{listed:?} listed, {came} came")) }
    })
    .await;
    assert_eq!(
        sequences(&neighbours[0])[..EVENTS],
        (1..=EVENTS).collect::<Vec<_>>(),
        "the slow one is served"
    );
    assert!(trap.taken().is_empty(), "nobody follows a redirect");

    // Sockets and memory are bounded: one exchange with each at a time.
    for (neighbour, (name, ..)) in neighbours.iter().zip(&hostile) {
        assert!(neighbour.open_connections() <= 2, "{name}: {}", neighbour.open_connections());
    }
    let (more_files, more_memory) =
        (processes::open_files(bus.pid()), processes::memory_kib(bus.pid()).saturating_sub(memory));
    assert!(more_files <= files + 2 * hostile.len() + 4, "{files} files, then {more_files}");
    assert!(more_memory < 64 * 1024, "{more_memory} KiB more");
    println!(
        "publish -> delivered, ms: alone p50 {:.2} p99 {:.2}; beside {} hostile ones p50 {:.2} p99 {:.2} (x{:.2})",
        alone.0,
        alone.1,
        hostile.len(),
        beside.0,
        beside.1,
        beside.1 / alone.1
    );

    // Whoever mends his manners gets everything.
    for (neighbour, (name, ..)) in neighbours.iter().zip(&hostile) {
        neighbour.becomes(Manner::Good);
        eventually(LIMIT, &format!("{name} has caught up"), async || {
            holds(rows(&bus).await[*name].clone(), |row| row["lag"] == 0 && row["lastError"].is_null())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_consumers_that_come_back_at_once_are_not_served_in_step() {
    const CONSUMERS: usize = 100;
    let bus = Lone::start(ServiceName::EventBus).await;
    let all = Neighbour::new(Manner::Away).await;
    for n in 0..CONSUMERS {
        subscribe(&bus, &format!("c{n}"), &format!("{}/c{n}", all.url)).await;
    }
    publish(&bus, 1).await;
    // By then each waits up to 3.2 seconds for its next attempt.
    eventually(LIMIT, "each has failed seven times", async || {
        holds(rows(&bus).await, |rows| rows.values().all(|row| row["attempts"].as_u64() >= Some(7)))
    })
    .await;
    let back = Instant::now();
    all.becomes(Manner::Good);
    eventually(LIMIT, "each has its event", async || {
        holds(rows(&bus).await, |rows| rows.values().all(|row| row["lag"] == 0))
    })
    .await;
    let mut first = BTreeMap::new();
    for taken in all.taken() {
        first.entry(taken.path.clone()).or_insert(taken.at);
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
