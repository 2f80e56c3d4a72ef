use super::*;
use crate::messaging::outbox::SCHEMA;
use crate::runtime::deps::{SystemClock, SystemIds};
use crate::runtime::transport::{Exchange, Transport};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

#[test]
fn the_bus_may_ask_for_time_but_not_for_ever() {
    let wait = |seconds| {
        let retry_after = Some(Duration::from_secs(seconds));
        let status = http::StatusCode::SERVICE_UNAVAILABLE;
        wait_after(&RelayError::Refused { status, body: String::new(), retry_after }, 1, 0)
    };
    assert_eq!(wait(60), Duration::from_secs(60));
    assert_eq!(wait(300), Duration::from_secs(300));
    assert_eq!(wait(31_536_000), Duration::from_secs(300));
    assert_eq!(wait(u64::MAX), Duration::from_secs(300));
    assert!(wait(0) > Duration::ZERO, "and the backoff holds in any case");
}

/// A bus that takes everything, and keeps the ids.
#[derive(Default)]
struct Bus(Mutex<Vec<String>>);

impl Transport for Bus {
    fn send(&self, request: http::Request<bytes::Bytes>) -> Exchange<'_> {
        let events: Vec<Value> = serde_json::from_slice(request.body()).unwrap();
        let ids = events.iter().map(|event| event["id"].as_str().unwrap().to_owned());
        self.0.lock().unwrap().extend(ids);
        let answer = json!({"status": "OK", "sequences": vec!["00000000000000000001"; events.len()]});
        Box::pin(async move { Ok(http::Response::new(answer.to_string().into())) })
    }
}

/// A relay of a store whose rows may appear in any order.
struct Relaying {
    _dir: tempfile::TempDir,
    store: Store,
    bus: Arc<Bus>,
    stopping: CancellationToken,
    relay: rt::Task<()>,
}

impl Relaying {
    async fn rows(rows: impl IntoIterator<Item = i64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "s", &[&[SCHEMA]]).unwrap();
        let (bus, stopping) = (Arc::<Bus>::default(), CancellationToken::new());
        queue(&store, rows).await;
        let deps = Deps { clock: Arc::new(SystemClock), ids: Arc::new(SystemIds), transport: bus.clone() };
        let client = BusClient::new(deps.clone(), "http://bus", None);
        let relay = Relay { store: store.clone(), bus: client, deps };
        let relay = rt::spawn(relay.run_from(Place::start(false), stopping.clone()));
        Self { _dir: dir, store, bus, stopping, relay }
    }

    /// Waits until these rows are published, each once and in this order.
    async fn have_published(&self, rows: impl IntoIterator<Item = i64>) {
        let expected: Vec<_> = rows.into_iter().map(|row| row.to_string()).collect();
        self.until(async || self.bus.0.lock().unwrap().len() >= expected.len()).await;
        assert_eq!(*self.bus.0.lock().unwrap(), expected);
    }

    async fn until(&self, mut holds: impl AsyncFnMut() -> bool) {
        let reached = async {
            while !holds().await {
                rt::sleep(Duration::from_millis(1)).await;
            }
        };
        rt::timeout(IDLE_POLL_INTERVAL / 2, reached)
            .await
            .expect("long before an idle relay reads the outbox again");
    }

    async fn is_empty(&self) -> bool {
        self.store
            .read(|tx| tx.one("SELECT NOT EXISTS (SELECT 1 FROM outbox)", &[], |row| row.bool(0)))
            .await
            .unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        self.store.write(Guard::None, move |tx| tx.execute(sql, &[])).await.unwrap();
    }

    async fn stop(self) {
        self.stopping.cancel();
        self.relay.await.unwrap();
    }
}

async fn queue(store: &Store, rows: impl IntoIterator<Item = i64>) {
    let rows: Vec<_> = rows.into_iter().collect();
    let write = move |tx: &Tx<'_>| {
        for row in &rows {
            let envelope = json!({"id": row.to_string(), "type": "A", "data": {}}).to_string();
            let sql = "INSERT INTO outbox (seq, id, queued_at, envelope) VALUES ($1, $2, 0, $3)";
            tx.execute(sql, values![*row, &row.to_string(), &envelope])?;
        }
        Ok::<_, SqlError>(())
    };
    store.write(Guard::None, write).await.unwrap();
}

#[tokio::test]
async fn a_row_that_appears_before_one_that_is_published_is_published_at_once() {
    let relaying = Relaying::rows([20]).await;
    relaying.have_published([20]).await;
    relaying.until(async || relaying.is_empty().await).await;
    queue(&relaying.store, [10]).await;
    relaying.have_published([20, 10]).await;
    relaying.until(async || relaying.is_empty().await).await;
    relaying.stop().await;
}

#[tokio::test]
async fn what_is_read_from_the_start_each_time_is_published_once() {
    let rows = || (1..=1_000).map(|n| 3 * n);
    let relaying = Relaying::rows(rows()).await;
    relaying.have_published(rows()).await;
    relaying.until(async || relaying.is_empty().await).await;
    relaying.have_published(rows()).await;
    relaying.stop().await;
}

#[tokio::test]
async fn what_cannot_be_deleted_is_not_published_again() {
    let relaying = Relaying::rows([]).await;
    relaying
        .execute("CREATE TRIGGER no BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'on purpose'); END")
        .await;
    queue(&relaying.store, [5]).await;
    relaying.have_published([5]).await;
    queue(&relaying.store, [2, 7]).await;
    relaying.have_published([5, 2, 7]).await;
    relaying.execute("DROP TRIGGER no").await;
    relaying.until(async || relaying.is_empty().await).await;
    relaying.have_published([5, 2, 7]).await;
    relaying.stop().await;
}
