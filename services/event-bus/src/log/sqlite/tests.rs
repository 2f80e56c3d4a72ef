use super::*;
use crate::log::conformance::{Engine, conformance, event};
use kit::store::{ReadError, WriteError};
use tempfile::TempDir;

/// A log in a folder of its own. Its replicas are clones: a second process is refused.
struct Folder(TempDir);

impl Engine for Folder {
    type Log = SqliteLog;

    async fn empty(_: &str) -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }

    async fn open(&self) -> SqliteLog {
        let store = crate::store::open(self.0.path(), kit::store::Options::default()).unwrap();
        SqliteLog::open(store).await.unwrap()
    }

    async fn another(&self, open: &SqliteLog) -> SqliteLog {
        open.clone()
    }

    async fn closed(&self) {
        testkit::store_is_closed(self.0.path(), "event-bus").await;
    }
}

conformance!(Folder);

#[tokio::test]
async fn the_end_of_the_log_moves_only_once_the_events_are_on_disk() {
    let folder = Folder::empty("").await.unwrap();
    let log = folder.open().await;
    // Two writes that each wait to be let go: the second shares its transaction with an append.
    let held = || {
        let (begin, begun) = tokio::sync::mpsc::unbounded_channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let store = log.store.clone();
        let write = async move {
            let wait = move |tx: &Tx<'_>| {
                let _ = begin.send(last(tx)?);
                ended.recv().map_err(|_| SqlError::data("the test has ended"))
            };
            store.write(Guard::None, wait).await
        };
        (write, begun, end)
    };
    let (first, mut begun, release_first) = held();
    let first = kit::rt::spawn(first);
    assert_eq!(begun.recv().await.unwrap(), Sequence::START);
    let mut appended = log.append(vec![event("a"), event("b")], Timestamp::default());
    assert!(futures_util::poll!(&mut appended).is_pending());
    // Both stand in the queue before the writer goes on.
    let (second, mut begun, release_second) = held();
    let mut second = std::pin::pin!(second);
    assert!(futures_util::poll!(&mut second).is_pending());
    release_first.send(()).unwrap();

    assert_eq!(begun.recv().await.unwrap(), Sequence::new(2), "they are in the transaction");
    assert_eq!(*log.head().borrow(), Sequence::START, "and not on disk: nobody sees them");
    assert!(log.read(Sequence::START, 9, usize::MAX).await.unwrap().is_empty());
    assert!(futures_util::poll!(&mut appended).is_pending(), "nor is the publisher told");
    release_second.send(()).unwrap();
    assert_eq!(appended.await.unwrap(), [Sequence::new(1), Sequence::new(2)]);
    assert_eq!(*log.head().borrow(), Sequence::new(2));
    first.await.unwrap().unwrap();
    second.await.unwrap();
}

#[test]
fn a_panic_of_the_store_is_not_taken_for_a_store_that_is_unavailable() {
    assert!(matches!(WriteError::<AppendError>::Panicked.into(), LogError::Panicked));
    assert!(matches!(ReadError::Panicked.into(), LogError::Panicked));
    assert!(matches!(WriteError::<AppendError>::Busy.into(), LogError::Unavailable(_)));
    assert!(matches!(ReadError::Stopped.into(), LogError::Unavailable(_)));
}
