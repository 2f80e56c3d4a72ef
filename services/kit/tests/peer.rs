//! What a peer does in the background: its relay and its registration.

#![allow(clippy::disallowed_methods, reason = "a test goes by the real clock")]

use axum::Router;
use bytes::Bytes;
use kit::app::config::PeerConfig;
use kit::app::peer::Peer;
use kit::messaging::consumer::{ApplyError, Handler, Received};
use kit::messaging::subscriber::Readiness;
use kit::rt;
use kit::runtime::deps::{Deps, SystemClock, SystemIds};
use kit::runtime::lifecycle::Lifecycle;
use kit::runtime::transport::{Exchange, Transport};
use kit::store::{Guard, Schema, SqlError, Store, Tx, values};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use shared::ServiceName;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CONFLICTING: &str = "known";

struct Nothing;

impl Handler for Nothing {
    type Pending = ();

    fn apply(&self, _: &Tx<'_>, _: &Received<'_>, (): &mut ()) -> Result<(), ApplyError> {
        Ok(())
    }
}

/// The other end of the wire: a bus with an empty log, which keeps the paths and bodies of its requests.
#[derive(Default)]
struct EmptyBus(Mutex<Vec<(String, Value)>>);

impl EmptyBus {
    fn requests(&self, path: &str) -> Vec<Value> {
        let requests = self.0.lock().unwrap();
        requests.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }

    fn registrations(&self) -> usize {
        self.requests("/subscriptions").len()
    }
}

impl Transport for EmptyBus {
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let path = request.uri().path().to_owned();
        self.0.lock().unwrap().push((path.clone(), body.clone()));
        // Its log has another event under this id.
        if path == "/events" && body.as_array().unwrap().iter().any(|event| event["id"] == CONFLICTING) {
            let conflict = http::Response::builder().status(409);
            let body = json!({"status": 409, "id": CONFLICTING}).to_string();
            return Box::pin(async { Ok(conflict.body(body.into()).unwrap()) });
        }
        let sequences = vec!["00000000000000000001"; body.as_array().map_or(0, Vec::len)];
        let start = "00000000000000000000";
        let body = json!({"status": "OK", "sequences": sequences, "cursor": start, "head": start});
        Box::pin(async move { Ok(http::Response::new(body.to_string().into())) })
    }
}

const SCHEMA: Schema = Schema {
    present: &[],
    history: &[kit::app::peer::SCHEMA, kit::app::peer::CURSOR_ROW],
    oldest_program: 1,
};

async fn peer(dir: &Path, bus: Arc<dyn Transport>) -> Peer {
    let deps = Deps { clock: Arc::new(SystemClock), ids: Arc::new(SystemIds), transport: bus };
    let config = PeerConfig::insecure(ServiceName::Posts, dir.to_owned());
    Peer::open(ServiceName::Posts, &config, deps, Lifecycle::new(), SCHEMA).await.unwrap()
}

/// With its clock paused, the runtime moves on in time only when nothing else is left to do.
const A_WHILE: Duration = Duration::from_secs(60);

/// Stops the service. On the real clock: the writer's thread does not know of the paused one, which would be over at once
/// where a task waits for it.
async fn stop(lifecycle: &Lifecycle) {
    tokio::time::resume();
    lifecycle.stop();
    assert!(lifecycle.wait(A_WHILE).await);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_registers_once_its_port_is_open() {
    let (dir, bus) = (tempfile::tempdir().unwrap(), Arc::<EmptyBus>::default());
    let service = peer(dir.path(), bus.clone()).await.service(Router::new(), Nothing, Readiness::AtOnce);
    rt::sleep(A_WHILE).await;
    assert_eq!(bus.registrations(), 0, "the bus would deliver to a closed port");
    service.lifecycle.set_listening();
    rt::sleep(A_WHILE).await;
    assert!(bus.registrations() > 0);
    stop(&service.lifecycle).await;
    assert_eq!(service.lifecycle.crashed(), None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_before_its_port_is_open_ends_without_a_crash() {
    let (dir, bus) = (tempfile::tempdir().unwrap(), Arc::<EmptyBus>::default());
    let service = peer(dir.path(), bus.clone()).await.service(Router::new(), Nothing, Readiness::AtOnce);
    stop(&service.lifecycle).await;
    assert_eq!(service.lifecycle.crashed(), None);
}

#[tokio::test(start_paused = true)]
async fn the_gauge_of_failed_attempts_says_how_it_is_now() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let gauge = |value: &str| {
        let line = format!("outbox_failed_attempts {value}");
        handle.render().lines().any(|found| found == line)
    };
    let (dir, bus) = (tempfile::tempdir().unwrap(), Arc::<EmptyBus>::default());
    let peer = peer(dir.path(), bus.clone()).await;
    let (store, lifecycle) = (peer.store.clone(), peer.lifecycle.clone());
    let _service = peer.service(Router::new(), Nothing, Readiness::AtOnce);
    rt::sleep(A_WHILE).await;
    assert!(gauge("0"), "{}", handle.render());
    store.write(Guard::None, |tx| tx.execute("ALTER TABLE outbox RENAME TO away", &[])).await.unwrap();
    rt::sleep(A_WHILE).await;
    assert!(!gauge("0"), "{}", handle.render());
    store.write(Guard::None, |tx| tx.execute("ALTER TABLE away RENAME TO outbox", &[])).await.unwrap();
    rt::sleep(A_WHILE).await;
    assert!(gauge("0"), "{}", handle.render());
    stop(&lifecycle).await;
}

#[tokio::test(start_paused = true)]
async fn only_the_first_registration_says_that_the_consumer_has_started() {
    let (dir, bus) = (tempfile::tempdir().unwrap(), Arc::<EmptyBus>::default());
    let service = peer(dir.path(), bus.clone()).await.service(Router::new(), Nothing, Readiness::AtOnce);
    service.lifecycle.set_listening();
    rt::sleep(A_WHILE).await;
    let started: Vec<_> = bus.requests("/subscriptions").iter().map(|r| r["started"].clone()).collect();
    assert!(started.len() > 2, "and then there are heartbeats");
    assert_eq!(started[0], json!(true));
    assert!(started[1..].iter().all(|field| *field == Value::Null), "{started:?}");
    stop(&service.lifecycle).await;
}

/// The rows of the outbox, put there under these places.
fn queue<'a>(rows: &'a [(i64, &'a str)]) -> impl Fn(&Tx<'_>) -> Result<(), SqlError> + 'a {
    move |tx| {
        for (place, id) in rows {
            let envelope = json!({"id": id, "type": "A", "data": {}}).to_string();
            let sql = "INSERT INTO outbox (seq, id, queued_at, envelope) VALUES ($1, $2, 0, $3)";
            tx.execute(sql, values![*place, *id, &envelope])?;
        }
        Ok(())
    }
}

/// A bus during whose first publication a row appears behind those that it publishes.
#[derive(Default)]
struct SlowBus {
    bus: EmptyBus,
    store: Mutex<Option<Store>>,
    appeared: AtomicBool,
    /// What the outbox held while that row was published, once all that was queued for the store was done.
    held: Mutex<Vec<Vec<i64>>>,
}

impl Transport for SlowBus {
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
        let publishes = request.uri().path() == "/events";
        let store = self.store.lock().unwrap().clone().filter(|_| publishes);
        let has_it = request.body().windows(7).any(|part| part == b"between");
        Box::pin(async move {
            if let Some(store) = store {
                if !self.appeared.swap(true, Ordering::SeqCst) {
                    store.write(Guard::None, queue(&[(15, "between")])).await.unwrap();
                }
                if has_it {
                    store.flush().await.unwrap();
                    let held = outbox(&store).await;
                    self.held.lock().unwrap().push(held);
                }
            }
            self.bus.send(request).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_appears_behind_what_is_published_is_published_too() {
    let dir = tempfile::tempdir().unwrap();
    let bus = Arc::<SlowBus>::default();
    let peer = peer(dir.path(), bus.clone()).await;
    let (store, lifecycle) = (peer.store.clone(), peer.lifecycle.clone());
    store.write(Guard::None, queue(&[(10, "first"), (20, "second")])).await.unwrap();
    *bus.store.lock().unwrap() = Some(store.clone());
    let _service = peer.service(Router::new(), Nothing, Readiness::AtOnce);
    let has = |id| bus.bus.requests("/events").iter().flat_map(ids).any(|found| found == id);
    until("nothing is lost", async || has("between") && outbox(&store).await.is_empty()).await;
    assert!(bus.held.lock().unwrap()[0].contains(&15), "only what was published is deleted");
    stop(&lifecycle).await;
}

fn ids(events: &Value) -> Vec<Value> {
    events.as_array().unwrap().iter().map(|event| event["id"].clone()).collect()
}

/// Waits until something holds, for as long as the real clock allows: the writer's thread does not know of the paused one.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < A_WHILE, "{what}");
        rt::sleep(Duration::from_millis(1)).await;
    }
}

/// The places of the rows in the outbox.
async fn outbox(store: &Store) -> Vec<i64> {
    let sql = "SELECT seq FROM outbox ORDER BY seq";
    store.read(|tx| tx.query(sql, &[], |row| row.int(0))).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_id_the_log_has_for_another_does_not_stop_the_others() {
    let (dir, bus) = (tempfile::tempdir().unwrap(), Arc::<EmptyBus>::default());
    let peer = peer(dir.path(), bus.clone()).await;
    let (store, lifecycle) = (peer.store.clone(), peer.lifecycle.clone());
    let _service = peer.service(Router::new(), Nothing, Readiness::AtOnce);
    store.write(Guard::None, queue(&[(1, "a"), (2, CONFLICTING), (3, "b")])).await.unwrap();
    until("the outbox is empty", async || outbox(&store).await.is_empty()).await;
    let published = bus.requests("/events").pop().unwrap();
    assert_eq!(ids(&published), ["a", "b"], "in their order");
    stop(&lifecycle).await;
}
