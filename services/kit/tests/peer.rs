//! What a peer does in the background: its relay and its registration.

use axum::Router;
use bytes::Bytes;
use kit::app::config::CommonConfig;
use kit::app::peer::Peer;
use kit::messaging::consumer::{ApplyError, Handler, Received};
use kit::rt;
use kit::runtime::deps::{Deps, SystemClock, SystemIds};
use kit::runtime::lifecycle::Lifecycle;
use kit::runtime::transport::{Exchange, Transport};
use metrics_exporter_prometheus::PrometheusBuilder;
use rusqlite::Connection;
use shared::ServiceName;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Nothing;

impl Handler for Nothing {
    fn apply(&self, _: &Connection, _: &Received<'_>) -> Result<(), ApplyError> {
        Ok(())
    }
}

/// The other end of the wire: a bus with an empty log, which keeps the paths that were asked for.
#[derive(Default)]
struct EmptyBus(Mutex<Vec<String>>);

impl EmptyBus {
    fn registrations(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|path| *path == "/subscriptions").count()
    }
}

impl Transport for EmptyBus {
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
        self.0.lock().unwrap().push(request.uri().path().to_owned());
        let start = "00000000000000000000";
        let body = format!(r#"{{"status":"OK","sequences":[],"cursor":"{start}","head":"{start}"}}"#);
        Box::pin(async { Ok(http::Response::new(body.into())) })
    }
}

fn peer(dir: &Path, bus: &Arc<EmptyBus>) -> Peer {
    let deps = Deps { clock: Arc::new(SystemClock), ids: Arc::new(SystemIds), transport: bus.clone() };
    let config = CommonConfig::insecure(ServiceName::Posts, dir.to_owned());
    Peer::open(ServiceName::Posts, &config, deps, Lifecycle::new(), &[kit::app::peer::SCHEMA]).unwrap()
}

/// With its clock paused, the runtime moves on in time only when nothing else is left to do.
const A_WHILE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_consumer_registers_once_its_port_is_open() {
    let (dir, bus) = (tempfile::tempdir().unwrap(), Arc::default());
    let service = peer(dir.path(), &bus).service(Router::new(), Nothing, false);
    rt::sleep(A_WHILE).await;
    assert_eq!(bus.registrations(), 0, "the bus would deliver to a closed port");
    service.lifecycle.set_listening();
    rt::sleep(A_WHILE).await;
    assert!(bus.registrations() > 0);
    service.lifecycle.stop();
    assert!(service.lifecycle.wait(A_WHILE).await);
    assert_eq!(service.lifecycle.crashed(), None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_before_its_port_is_open_ends_without_a_crash() {
    let (dir, bus) = (tempfile::tempdir().unwrap(), Arc::default());
    let service = peer(dir.path(), &bus).service(Router::new(), Nothing, false);
    service.lifecycle.stop();
    assert!(service.lifecycle.wait(A_WHILE).await);
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
    let (dir, bus) = (tempfile::tempdir().unwrap(), Arc::default());
    let peer = peer(dir.path(), &bus);
    let (store, lifecycle) = (peer.store.clone(), peer.lifecycle.clone());
    let _service = peer.service(Router::new(), Nothing, false);
    rt::sleep(A_WHILE).await;
    assert!(gauge("0"), "{}", handle.render());
    store.write(|c| c.execute_batch("ALTER TABLE outbox RENAME TO away")).await.unwrap();
    rt::sleep(A_WHILE).await;
    assert!(!gauge("0"), "{}", handle.render());
    store.write(|c| c.execute_batch("ALTER TABLE away RENAME TO outbox")).await.unwrap();
    rt::sleep(A_WHILE).await;
    assert!(gauge("0"), "{}", handle.render());
    lifecycle.stop();
    assert!(lifecycle.wait(A_WHILE).await);
}
