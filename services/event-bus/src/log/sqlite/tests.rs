use super::*;
use proptest::prelude::*;

fn event(id: &str) -> Envelope {
    serde_json::from_str(&format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/posts","type":"PostCreated","data":{{"id":"{id}","title":"ä\"T"}}}}"#
    ))
    .unwrap()
}

async fn open(dir: &std::path::Path) -> SqliteLog {
    SqliteLog::open(crate::store::open(dir, kit::store::Options::default()).unwrap()).await.unwrap()
}

async fn append_ids(log: &SqliteLog, ids: &[&str]) -> Vec<i64> {
    let events = ids.iter().map(|id| event(id)).collect();
    let sequences = log.append(events, Timestamp::from_unix_ms(1)).await.unwrap();
    sequences.into_iter().map(Sequence::get).collect()
}

#[tokio::test]
async fn the_same_event_again_keeps_its_place_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    assert_eq!(append_ids(&log, &["a", "b"]).await, [1, 2]);
    assert_eq!(append_ids(&log, &["b", "c", "c", "a", "d"]).await, [2, 3, 3, 1, 4]);
    drop(log);
    testkit::store_is_closed(dir.path(), "event-bus").await;
    let log = open(dir.path()).await;
    assert_eq!(*log.head().borrow(), Sequence::new(4));
    assert_eq!(append_ids(&log, &["d", "e"]).await, [4, 5]);
}

#[tokio::test]
async fn another_event_under_a_known_id_is_a_conflict_and_nothing_of_its_batch_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    append_ids(&log, &["a", "b"]).await;
    let reaction = |json: &str| -> Envelope { serde_json::from_str(json).unwrap() };
    // An event that another one caused, published again after a lost store: another time and trace, and its data written in another way.
    let again = reaction(
        r#"{"specversion":"1.0","id":"b","source":"/posts","type":"PostCreated","time":"2026-11-20T09:38:56Z",
            "traceparent":"00-1-2-01","data":{"title":"\u00e4\"T","id":"b"}}"#,
    );
    let append = async |events| log.append(events, Timestamp::from_unix_ms(9)).await;
    assert_eq!(append(vec![again.clone()]).await.unwrap(), [Sequence::new(2)]);
    let other_type = Envelope { kind: "Other".into(), ..event("b") };
    let other_key = Envelope { subject: Some("c".into()), ..event("b") };
    let other_data = Envelope { data: event("c").data, partitionkey: Some("b".into()), ..event("b") };
    for other in [other_type, other_key, other_data] {
        let conflict = append(vec![event("c"), other]).await.unwrap_err();
        assert!(matches!(conflict, LogError::Conflict(c) if c.id == "b" && c.sequence == Sequence::new(2)));
    }
    let twice = Envelope { kind: "Other".into(), ..event("d") };
    assert!(
        matches!(append(vec![event("d"), twice]).await, Err(LogError::Conflict(_))),
        "within a batch, too"
    );
    assert_eq!(append_ids(&log, &["c"]).await, [3], "no sequence is left out");
}

#[tokio::test]
async fn what_is_in_memory_is_what_is_on_disk_and_whoever_falls_behind_it_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    for batch in 0..8 {
        let ids: Vec<_> = (0..300).map(|n| format!("{batch}-{n}")).collect();
        append_ids(&log, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let (mut after, mut found, mut from_disk) = (Sequence::START, Vec::new(), 0);
    while after < *log.head().borrow() {
        let recent = log.read_recent(after, 100, usize::MAX);
        from_disk += usize::from(recent.is_none());
        let from_store = log.read(after, 100, usize::MAX).await.unwrap();
        let events = recent.unwrap_or(from_store);
        after = events.last().unwrap().sequence;
        found.extend(events);
    }
    assert_eq!(found, log.read(Sequence::START, 9_999, usize::MAX).await.unwrap());
    assert_eq!(from_disk, 14, "pages: the last 1,024 of 2,400 events are in memory");
}

#[tokio::test]
async fn what_was_not_appended_is_not_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    append_ids(&log, &["a", "b"]).await;
    let other = Envelope { kind: "Other".into(), ..event("b") };
    log.append(vec![event("c"), other], Timestamp::default()).await.unwrap_err();
    assert_eq!(log.read_recent(Sequence::new(2), 9, usize::MAX), None);
    append_ids(&log, &["b", "d", "a"]).await;
    let recent = log.read_recent(Sequence::START, 9, usize::MAX).unwrap();
    assert_eq!(recent, log.read(Sequence::START, 9, usize::MAX).await.unwrap());
    assert_eq!(recent.len(), 3);
    drop(log);
    testkit::store_is_closed(dir.path(), "event-bus").await;
    let log = open(dir.path()).await;
    assert_eq!(log.read_recent(Sequence::START, 9, usize::MAX), None, "a start begins with the disk");
}

#[tokio::test]
async fn what_is_on_disk_is_seen_although_the_publisher_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    let mut append = log.append(vec![event("a")], Timestamp::default());
    assert!(futures_util::poll!(&mut append).is_pending(), "begun");
    drop(append);
    let mut head = log.head();
    let seen = head.wait_for(|head| *head == Sequence::new(1));
    kit::rt::timeout(std::time::Duration::from_secs(10), seen).await.expect("the log ends there").unwrap();
}

#[tokio::test]
async fn the_end_of_the_log_moves_only_once_the_events_are_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
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

#[tokio::test]
async fn what_is_read_is_what_was_appended_with_its_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    append_ids(&log, &["a", "b", "c"]).await;
    let read = log.read(Sequence::new(1), 10, usize::MAX).await.unwrap();
    let envelopes: Vec<Envelope> = read.iter().map(|e| serde_json::from_str(&e.json).unwrap()).collect();
    for (envelope, (id, seq)) in envelopes.iter().zip([("b", 2), ("c", 3)]) {
        assert_eq!(envelope.sequence, Some(Sequence::new(seq)));
        assert_eq!(*envelope, Envelope { sequence: envelope.sequence, ..event(id) });
    }
    assert_eq!(log.read(Sequence::START, 2, usize::MAX).await.unwrap().len(), 2);
    assert_eq!(log.read(Sequence::START, 9, 1).await.unwrap().len(), 1, "one always fits");
    assert!(log.read(Sequence::new(3), 9, usize::MAX).await.unwrap().is_empty());
    assert!(log.read(Sequence::new(99), 9, usize::MAX).await.unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn sequences_have_no_gaps_whatever_is_repeated(batches in prop::collection::vec(prop::collection::vec(0..12_u8, 1..6), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let log = open(dir.path()).await;
            let mut first = std::collections::HashMap::new();
            for batch in batches {
                let events = batch.iter().map(|n| event(&n.to_string())).collect();
                let sequences = log.append(events, Timestamp::default()).await.unwrap();
                for (n, sequence) in batch.iter().zip(sequences) {
                    prop_assert_eq!(*first.entry(*n).or_insert(sequence), sequence);
                }
            }
            let read = log.read(Sequence::START, 100, usize::MAX).await.unwrap();
            let sequences: Vec<i64> = read.iter().map(|e| e.sequence.get()).collect();
            prop_assert_eq!(sequences, (1..=first.len() as i64).collect::<Vec<_>>());
            Ok(())
        })?;
    }
}

#[test]
fn a_panic_of_the_store_is_not_taken_for_a_store_that_is_unavailable() {
    assert!(matches!(WriteError::<AppendError>::Panicked.into(), LogError::Panicked));
    assert!(matches!(ReadError::Panicked.into(), LogError::Panicked));
    assert!(matches!(WriteError::<AppendError>::Busy.into(), LogError::Unavailable(_)));
    assert!(matches!(ReadError::Stopped.into(), LogError::Unavailable(_)));
}
