use super::*;
use crate::log::SqliteLog;
use crate::store;
use futures_util::poll;
use kit::runtime::transport::{Exchange, Transport};
use shared::Timestamp;
use std::path::Path;
use std::time::Duration;
use testkit::eventually;

/// Nobody can be reached through it: it panics.
struct Panics;

impl Transport for Panics {
    fn send(&self, _: http::Request<bytes::Bytes>) -> Exchange<'_> {
        Box::pin(async { panic!("on purpose") })
    }
}

async fn subscriptions(dir: &Path, lifecycle: &Lifecycle) -> Arc<Subscriptions> {
    let store = store::open(dir, kit::store::Options::default()).unwrap();
    let log = Arc::new(SqliteLog::open(store.clone()).await.unwrap());
    let deps = Deps { transport: Arc::new(Panics), ..Deps::system().unwrap() };
    let table = SubscriptionTable::new(store, false);
    let (keys, rules) = (HashMap::new(), Rules::default());
    let subscriptions = Subscriptions::new(log, table, deps, lifecycle.clone(), keys, rules);
    subscriptions.begin().await.unwrap();
    subscriptions
}

async fn subscribe(subscriptions: &Arc<Subscriptions>) {
    let (name, url) = ("one".to_owned(), "http://one/events".to_owned());
    let cursor = Sequence::START;
    let request = Subscribe { name, url, cursor, last_id: None, batch: true, started: true };
    subscriptions.register(request).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_a_delivery_is_a_crash_of_the_bus() {
    let (dir, lifecycle) = (tempfile::tempdir().unwrap(), Lifecycle::new());
    let subscriptions = subscriptions(dir.path(), &lifecycle).await;
    subscribe(&subscriptions).await;
    assert_eq!(lifecycle.crashed(), None);
    let event =
        serde_json::from_str(r#"{"id":"e1","source":"/posts","type":"PostCreated","data":{}}"#).unwrap();
    subscriptions.log.append(vec![event], Timestamp::default()).await.unwrap();
    eventually("it has crashed", async || lifecycle.crashed()).await;
    assert_eq!(lifecycle.failures(), ["the background task delivery has crashed"]);
}

#[tokio::test]
async fn unsubscribing_is_finished_although_whoever_asked_has_left() {
    let (dir, lifecycle) = (tempfile::tempdir().unwrap(), Lifecycle::new());
    let subscriptions = subscriptions(dir.path(), &lifecycle).await;
    subscribe(&subscriptions).await;
    // As while the cursors are being saved.
    let saving = subscriptions.saved.lock().await;
    let mut removal = Box::pin(subscriptions.remove("one"));
    assert!(poll!(&mut removal).is_pending());
    drop(removal);
    drop(saving);
    let table = &subscriptions.table;
    eventually("it is deleted", async || table.all().await.unwrap().is_empty().then_some(())).await;
    eventually("it has ended", async || subscriptions.known("one").is_none().then_some(())).await;
    assert!(!subscriptions.remove("one").await.unwrap());
    lifecycle.stop();
    assert!(lifecycle.wait(Duration::from_secs(10)).await, "deliveries end with the stop");
}
