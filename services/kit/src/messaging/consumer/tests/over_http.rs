//! Deliveries as the bus sends them, to a store on disk: what is answered, and what is there then.

use super::*;
use crate::rt;
use axum::body::{Body, to_bytes};
use std::time::Duration;
use tokio::sync::mpsc;
use tower::ServiceExt;

/// A consumer with its store, in a folder of its own.
struct Consuming {
    dir: tempfile::TempDir,
    store: Store,
    router: Router,
}

impl Consuming {
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(dir: tempfile::TempDir) -> Self {
        Self::with(dir, |_| Scribe)
    }

    fn with<H: Handler>(dir: tempfile::TempDir, handler: impl FnOnce(&Store) -> H) -> Self {
        let store = Store::open(dir.path(), "s", MIGRATIONS).unwrap();
        let deps = Deps::system().unwrap();
        let handler = handler(&store);
        let router = Consumer::new(ServiceName::Query, store.clone(), handler, deps, None, None).router();
        Self { dir, store, router }
    }

    async fn restarted(self) -> Self {
        let Self { dir, store, router } = self;
        drop(router);
        crate::store::tests::close(store).await;
        Self::in_folder(dir)
    }

    /// The status of the answer to a delivery, and its body.
    async fn deliver(&self, events: &[Envelope]) -> (u16, serde_json::Value) {
        self.deliver_json(serde_json::to_vec(events).unwrap()).await
    }

    async fn deliver_json(&self, json: Vec<u8>) -> (u16, serde_json::Value) {
        let request = http::Request::post("/events")
            .header("content-type", shared::envelope::CLOUDEVENTS_BATCH_JSON)
            .body(Body::from(json))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn execute(&self, sql: &'static str) {
        self.store.write(Guard::None, move |tx| tx.execute(sql, &[])).await.unwrap();
    }

    /// What was applied, what is parked, and the cursor.
    async fn state(&self) -> (Vec<i64>, Vec<i64>, i64) {
        self.store.read(|tx| Ok((seen(tx), letters(tx), inbox::cursor(tx)?.get()))).await.unwrap()
    }
}

#[tokio::test]
async fn a_delivery_that_the_store_could_not_take_is_not_acknowledged_and_leaves_nothing() {
    let consuming = Consuming::new();
    let log = [event(1, "a", "ok"), event(2, "a", "busy"), event(3, "b", "ok")];
    for _ in 0..2 {
        assert_eq!(consuming.deliver(&log).await.0, 503);
        assert_eq!(consuming.state().await, (vec![], vec![], 0), "nothing of it has happened");
    }
    consuming.execute("INSERT INTO mended VALUES (1)").await;
    assert_eq!(consuming.deliver(&log).await.0, 200);
    assert_eq!(consuming.state().await, (vec![1, 2, 3], vec![], 3));
}

#[tokio::test]
async fn an_event_whose_handler_will_always_fail_is_kept() {
    let consuming = Consuming::new();
    assert_eq!(consuming.deliver(&[event(1, "a", "bad"), event(2, "b", "panic")]).await.0, 200);
    let consuming = consuming.restarted().await;
    assert_eq!(consuming.state().await, (vec![], vec![1, 2], 2));
}

#[tokio::test]
async fn a_parked_key_stays_parked_over_deliveries_and_restarts() {
    let consuming = Consuming::new();
    consuming.deliver(&[event(1, "a", "bad")]).await;
    consuming.deliver(&[event(2, "a", "ok"), event(3, "b", "ok")]).await;
    let consuming = consuming.restarted().await;
    consuming.deliver(&[event(4, "b", "ok"), event(5, "a", "ok")]).await;
    assert_eq!(consuming.state().await, (vec![3, 4], vec![1, 2, 5], 5));
}

#[tokio::test]
async fn the_cursor_and_the_effect_of_a_delivery_are_kept_together_or_not_at_all() {
    let consuming = Consuming::new();
    let log = [event(1, "a", "ok"), event(2, "a", "ok")];
    consuming
        .execute("CREATE TRIGGER no BEFORE UPDATE ON cursor BEGIN SELECT RAISE(ABORT, 'on purpose'); END")
        .await;
    assert_ne!(consuming.deliver(&log).await.0, 200);
    assert_eq!(consuming.state().await, (vec![], vec![], 0), "no effect without the cursor");
    consuming.execute("DROP TRIGGER no").await;
    assert_eq!(consuming.deliver(&log).await.0, 200);
    assert_eq!(consuming.state().await, (vec![1, 2], vec![], 2));

    let before = *consuming.store.committed().borrow();
    consuming.deliver(&[event(3, "a", "ok")]).await;
    assert_eq!(*consuming.store.committed().borrow(), before + 1, "and one commit holds both");
}

#[tokio::test]
async fn a_gap_is_answered_with_the_place_to_go_on_from() {
    let consuming = Consuming::new();
    let (status, body) = consuming.deliver(&[event(1, "a", "ok"), event(3, "a", "ok")]).await;
    assert_eq!((status, body["cursor"].as_str()), (409, Some("00000000000000000001")));
    assert_eq!(consuming.state().await, (vec![1], vec![], 1));
}

#[tokio::test]
async fn the_same_delivery_many_times_at_once_takes_effect_once() {
    let consuming = Consuming::new();
    let log: Vec<_> = (1..=5).map(|n| event(n, "a", "ok")).collect();
    let answers = futures_util::future::join_all((0..64).map(|_| consuming.deliver(&log))).await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
    assert_eq!(consuming.state().await, (vec![1, 2, 3, 4, 5], vec![], 5));
}

#[tokio::test]
async fn a_large_delivery_is_applied_as_a_whole_or_not_at_all() {
    let consuming = Consuming::new();
    let log: Vec<_> = (1..=2_000).map(|n| event(n, "a", if n == 1_500 { "bad" } else { "ok" })).collect();
    let json = serde_json::to_vec(&log).unwrap();
    assert!(json.len() > LARGE_BYTES);
    let without_end = json[..json.len() - 1].to_vec();
    assert_eq!(consuming.deliver_json(without_end).await.0, 400);
    let invalid = String::from_utf8(json.clone()).unwrap().replace("e1999", "e\\n1999");
    assert_eq!(consuming.deliver_json(invalid.into_bytes()).await.0, 422);
    let counts = async || {
        let (seen, letters, cursor) = consuming.state().await;
        (seen.len(), letters.len(), cursor)
    };
    assert_eq!(counts().await, (0, 0, 0));
    assert_eq!(consuming.deliver_json(json).await.0, 200);
    assert_eq!(counts().await, (1_499, 501, 2_000));
}

/// A scribe that passes on what it learns after a commit: each post, and how many events are stored by then.
struct Announcer {
    path: std::path::PathBuf,
    announced: mpsc::UnboundedSender<(String, usize)>,
}

impl Handler for Announcer {
    type Pending = <Scribe as Handler>::Pending;

    fn apply(
        &self,
        tx: &Tx<'_>,
        received: &Received<'_>,
        pending: &mut Self::Pending,
    ) -> Result<(), ApplyError> {
        Scribe.apply(tx, received, pending)
    }

    fn after_commit(&self, applied: &[Event]) {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        let stored = seen(&Tx::new(&connection)).len();
        for event in applied {
            let Event::PostCreated(post) = event else { continue };
            self.announced.send((post.id.to_string(), stored)).unwrap();
        }
    }
}

fn announcing() -> (Consuming, mpsc::UnboundedReceiver<(String, usize)>) {
    let (announced, heard) = mpsc::unbounded_channel();
    let handler = |store: &Store| Announcer { path: store.path().to_owned(), announced };
    (Consuming::with(tempfile::tempdir().unwrap(), handler), heard)
}

#[tokio::test]
async fn the_handler_learns_what_was_applied_once_it_is_visible() {
    let (consuming, mut heard) = announcing();
    let mut heard = || std::iter::from_fn(|| heard.try_recv().ok()).collect::<Vec<_>>();
    let log = [event(1, "a", "ok"), event(2, "b", "bad"), event(3, "b", "ok"), event(4, "c", "ok")];
    consuming.deliver(&log).await;
    assert_eq!(heard(), [("a".to_owned(), 2), ("c".to_owned(), 2)], "not what was parked");
    consuming.deliver(&log).await;
    consuming.deliver(&[event(5, "d", "busy")]).await;
    assert_eq!(heard(), [], "nothing was applied");
    consuming.execute("INSERT INTO mended VALUES (1)").await;
    let redrive = http::Request::post("/dead-letters/1/redrive").body(Body::empty()).unwrap();
    assert_eq!(consuming.router.clone().oneshot(redrive).await.unwrap().status(), 200);
    assert_eq!(heard(), [("b".to_owned(), 4), ("b".to_owned(), 4)]);
}

#[tokio::test]
async fn the_handler_learns_what_was_applied_also_when_the_bus_has_hung_up() {
    let (consuming, mut heard) = announcing();
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let store = consuming.store.clone();
    let blocking = rt::spawn(async move {
        let wait = move |_: &Tx<'_>| {
            begin.send(()).unwrap();
            blocked.recv().unwrap();
            Ok::<_, SqlError>(())
        };
        store.write(Guard::None, wait).await.unwrap();
    });
    begun.recv().await.unwrap();
    let events = [event(1, "a", "ok")];
    let delivery = rt::timeout(Duration::from_millis(200), consuming.deliver(&events)).await;
    assert!(delivery.is_err(), "it waits for the writer, and is dropped");
    go_on.send(()).unwrap();
    blocking.await.unwrap();
    let announced = rt::timeout(Duration::from_secs(20), heard.recv()).await.unwrap();
    assert_eq!(announced, Some(("a".to_owned(), 1)));
}

#[tokio::test]
async fn a_delivery_that_changes_nothing_is_answered_without_waiting_for_the_disk() {
    let consuming = Consuming::new();
    let not_for_it = |n: i64| {
        let mut envelope = event(n, "a", "ok");
        "SomethingElse".clone_into(&mut envelope.kind);
        envelope
    };
    for n in 1..=200 {
        assert_eq!(consuming.deliver(&[not_for_it(n)]).await.0, 200);
    }
    // One each second, however slow this machine is.
    assert!(*consuming.store.committed().borrow() < 50);
    assert_eq!(consuming.deliver(&[not_for_it(202)]).await.1["cursor"], "00000000000000000200");
    let before = *consuming.store.committed().borrow();
    assert_eq!(consuming.deliver(&[event(201, "a", "ok"), not_for_it(202)]).await.0, 200);
    assert!(
        *consuming.store.committed().borrow() > before,
        "what changes something is on disk when it is answered"
    );
    assert_eq!(consuming.state().await, (vec![201], vec![], 202));
    assert_eq!(consuming.deliver(&[not_for_it(203)]).await.0, 200);
    assert_eq!(consuming.restarted().await.state().await, (vec![201], vec![], 203), "written at the close");
}
