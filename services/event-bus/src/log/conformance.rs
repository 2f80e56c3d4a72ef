//! What every log has to do: tests that run on each. `conformance!(Engine)` in the tests of a log makes them its own.

use super::{EventLog, LogError, Logged};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use shared::{Envelope, Sequence, Timestamp};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// One log of a test, and how it is opened.
pub(super) trait Engine: Sized + Sync {
    type Log: EventLog + Clone;

    /// An empty log; `None` where what it needs is not installed.
    async fn empty(test: &str) -> Option<Self>;

    /// Opens it: the first time, or when it is closed.
    async fn open(&self) -> Self::Log;

    /// Another handle to a log that is open, as another replica of the bus has.
    async fn another(&self, open: &Self::Log) -> Self::Log;

    /// Waits until nothing of the handles is left that the test has dropped.
    async fn closed(&self);
}

// In the list, the names stand as those of tests do, so that they are found.
macro_rules! conformance {
    ($engine:ty) => {
        $crate::log::conformance::conformance! { $engine:
            #[test]
            fn the_same_event_again_keeps_its_place_also_after_a_restart();
            #[test]
            fn a_batch_with_a_known_event_appends_the_rest();
            #[test]
            fn another_event_under_a_known_id_is_a_conflict_and_nothing_of_its_batch_is_stored();
            #[test]
            fn a_conflict_is_that_of_its_own_publication();
            #[test]
            fn what_is_in_memory_is_what_is_on_disk_and_whoever_falls_behind_it_loses_nothing();
            #[test]
            fn what_was_not_appended_is_not_in_memory();
            #[test]
            fn what_is_on_disk_is_seen_although_the_publisher_has_left();
            #[test]
            fn what_is_read_is_what_was_appended_with_its_sequence();
            #[test]
            fn a_read_is_bounded_in_events_and_bytes();
            #[test]
            fn any_text_is_kept_as_it_is();
            #[test]
            fn sequences_have_no_gaps_whatever_is_repeated();
            #[test]
            fn appends_by_two_buses_are_dense();
            #[test]
            fn what_the_head_names_can_be_read_by_everybody();
        }
    };
    ($engine:ty: $(#[test] fn $test:ident();)+) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            if let Some(engine) = <$engine as $crate::log::conformance::Engine>::empty(stringify!($test)).await {
                $crate::log::conformance::$test(engine).await;
            }
        }
    )+ };
}
pub(super) use conformance;

/// How long something may take that happens by itself.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn event(id: &str) -> Envelope {
    serde_json::from_str(&format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/posts","type":"PostCreated","data":{{"id":"{id}","title":"ä\"T"}}}}"#
    ))
    .unwrap()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn numbers(sequences: Vec<Sequence>) -> Vec<i64> {
    sequences.into_iter().map(Sequence::get).collect()
}

async fn append_ids(log: &impl EventLog, ids: &[&str]) -> Vec<i64> {
    numbers(log.append(ids.iter().map(|id| event(id)).collect(), at(1)).await.unwrap())
}

async fn read_all(log: &impl EventLog) -> Vec<Logged> {
    let head = *log.head().borrow();
    let mut events: Vec<Logged> = Vec::new();
    while events.last().map_or(Sequence::START, |last| last.sequence) < head {
        let after = events.last().map_or(Sequence::START, |last| last.sequence);
        let page = log.read(after, 1_000, usize::MAX).await.unwrap();
        assert!(!page.is_empty(), "the log ends at {head}, and nothing follows {after}");
        events.extend(page);
    }
    events
}

fn ids(events: &[Logged]) -> Vec<String> {
    let id = |event: &Logged| serde_json::from_str::<Envelope>(&event.json).unwrap().id.unwrap();
    events.iter().map(id).collect()
}

async fn reaches(log: &impl EventLog, head: i64) {
    let mut heads = log.head();
    let reached = heads.wait_for(|now| now.get() >= head);
    kit::rt::timeout(LIMIT, reached).await.expect("the log has grown").unwrap();
}

pub(super) async fn the_same_event_again_keeps_its_place_also_after_a_restart(engine: impl Engine) {
    let log = engine.open().await;
    assert_eq!(append_ids(&log, &["a", "b"]).await, [1, 2]);
    assert_eq!(append_ids(&log, &["b", "c", "c", "a", "d"]).await, [2, 3, 3, 1, 4]);
    drop(log);
    engine.closed().await;
    let log = engine.open().await;
    assert_eq!(*log.head().borrow(), Sequence::new(4));
    assert_eq!(log.read_recent(Sequence::START, 9, usize::MAX), None, "a start begins with the disk");
    assert_eq!(append_ids(&log, &["d", "e"]).await, [4, 5]);
    assert_eq!(ids(&read_all(&log).await), ["a", "b", "c", "d", "e"]);
}

pub(super) async fn a_batch_with_a_known_event_appends_the_rest(engine: impl Engine) {
    let log = engine.open().await;
    assert_eq!(append_ids(&log, &["b"]).await, [1]);
    assert_eq!(append_ids(&log, &["a", "b", "c"]).await, [2, 1, 3]);
    assert_eq!(append_ids(&log, &["a", "b", "c"]).await, [2, 1, 3]);
    assert_eq!(append_ids(&log, &["d"]).await, [4], "nothing is left out");
    assert_eq!(append_ids(&log, &[]).await, Vec::<i64>::new());
    assert_eq!(ids(&read_all(&log).await), ["b", "a", "c", "d"]);
}

pub(super) async fn another_event_under_a_known_id_is_a_conflict_and_nothing_of_its_batch_is_stored(
    engine: impl Engine,
) {
    let log = engine.open().await;
    append_ids(&log, &["a", "b"]).await;
    // An event that another one caused, published again after a lost store: another time and trace, and its data written
    // in another way.
    let again: Envelope = serde_json::from_str(
        r#"{"specversion":"1.0","id":"b","source":"/posts","type":"PostCreated","time":"2026-11-20T09:38:56Z",
            "traceparent":"00-1-2-01","data":{"title":"\u00e4\"T","id":"b"}}"#,
    )
    .unwrap();
    let append = async |events| log.append(events, at(9)).await;
    assert_eq!(append(vec![again.clone()]).await.unwrap(), [Sequence::new(2)]);
    let other_type = Envelope { kind: "Other".into(), ..event("b") };
    let other_key = Envelope { subject: Some("c".into()), ..event("b") };
    let other_data = Envelope { data: event("c").data, partitionkey: Some("b".into()), ..event("b") };
    for other in [other_type, other_key, other_data] {
        let conflict = append(vec![event("c"), other]).await.unwrap_err();
        assert!(matches!(conflict, LogError::Conflict(c) if c.id == "b" && c.sequence == Sequence::new(2)));
    }
    let twice = Envelope { kind: "Other".into(), ..event("d") };
    let conflict = append(vec![event("d"), twice]).await.unwrap_err();
    assert!(matches!(conflict, LogError::Conflict(c) if c.id == "d"), "within a batch, too");
    let same_id = Envelope { source: Some("/comments".into()), kind: "Other".into(), ..event("b") };
    assert_eq!(numbers(append(vec![same_id]).await.unwrap()), [3], "an id is its source's");
    assert_eq!(append_ids(&log, &["c"]).await, [4], "no sequence is left out");
}

pub(super) async fn a_conflict_is_that_of_its_own_publication(engine: impl Engine) {
    let log = engine.open().await;
    append_ids(&log, &["known"]).await;
    let other = |id: &str| Envelope { kind: "Other".into(), ..event(id) };
    // Many at once, so that they share a transaction where the log lets them.
    let appends = (0..24).map(|n| {
        let (log, events) = (
            &log,
            match n % 4 {
                0 => vec![event(&format!("before-{n}")), other("known")],
                1 => vec![event("same"), event(&format!("good-{n}"))],
                2 => vec![event(&format!("good-{n}"))],
                _ => {
                    vec![if n == 3 { event("first") } else { other("first") }, event(&format!("one-of-{n}"))]
                }
            },
        );
        async move { (n, log.append(events, at(n)).await) }
    });
    let mut first = Vec::new();
    for (n, result) in futures_util::future::join_all(appends).await {
        match (n % 4, result) {
            (0, Err(LogError::Conflict(conflict))) => assert_eq!(conflict.id, "known"),
            (1 | 2, Ok(_)) => {}
            (3, Ok(_)) => first.push(n),
            (3, Err(LogError::Conflict(conflict))) => assert_eq!(conflict.id, "first"),
            (_, result) => panic!("{n}: {result:?}"),
        }
    }
    let stored = ids(&read_all(&log).await);
    let unique: HashSet<_> = stored.iter().collect();
    assert_eq!(unique.len(), stored.len());
    assert!(stored.iter().all(|id| !id.starts_with("before-")));
    for n in (0..24).filter(|n| n % 4 == 3) {
        assert_eq!(stored.contains(&format!("one-of-{n}")), first.contains(&n), "{n}: all or none");
    }
    // The six of each of two kinds, "known", "same", "first", and those that came with "first".
    assert_eq!(stored.len(), 12 + 3 + first.len());
}

pub(super) async fn what_is_in_memory_is_what_is_on_disk_and_whoever_falls_behind_it_loses_nothing(
    engine: impl Engine,
) {
    let log = engine.open().await;
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
    assert_eq!(found, read_all(&log).await);
    assert_eq!(found.len(), 2_400);
    assert!(from_disk < 24, "some pages are in memory");
}

pub(super) async fn what_was_not_appended_is_not_in_memory(engine: impl Engine) {
    let log = engine.open().await;
    append_ids(&log, &["a", "b"]).await;
    let other = Envelope { kind: "Other".into(), ..event("b") };
    log.append(vec![event("c"), other], Timestamp::default()).await.unwrap_err();
    assert_eq!(log.read_recent(Sequence::new(2), 9, usize::MAX), None);
    append_ids(&log, &["b", "d", "a"]).await;
    let recent = log.read_recent(Sequence::START, 9, usize::MAX).unwrap();
    assert_eq!(recent, log.read(Sequence::START, 9, usize::MAX).await.unwrap());
    assert_eq!(recent.len(), 3);
}

pub(super) async fn what_is_on_disk_is_seen_although_the_publisher_has_left(engine: impl Engine) {
    let log = engine.open().await;
    let mut append = log.append(vec![event("a")], Timestamp::default());
    assert!(futures_util::poll!(&mut append).is_pending(), "begun");
    drop(append);
    reaches(&log, 1).await;
    assert_eq!(ids(&read_all(&log).await), ["a"]);
}

pub(super) async fn what_is_read_is_what_was_appended_with_its_sequence(engine: impl Engine) {
    let log = engine.open().await;
    append_ids(&log, &["a", "b", "c"]).await;
    let read = log.read(Sequence::new(1), 10, usize::MAX).await.unwrap();
    assert_eq!(read.len(), 2);
    let envelopes: Vec<Envelope> = read.iter().map(|e| serde_json::from_str(&e.json).unwrap()).collect();
    for ((envelope, logged), (id, seq)) in envelopes.iter().zip(&read).zip([("b", 2), ("c", 3)]) {
        assert_eq!(envelope.sequence, Some(Sequence::new(seq)));
        assert_eq!(*envelope, Envelope { sequence: envelope.sequence, ..event(id) });
        assert_eq!((logged.sequence, logged.recorded_at), (Sequence::new(seq), at(1)));
    }
}

pub(super) async fn a_read_is_bounded_in_events_and_bytes(engine: impl Engine) {
    let log = engine.open().await;
    append_ids(&log, &["a", "b", "c"]).await;
    let read = async |after, limit, bytes| log.read(Sequence::new(after), limit, bytes).await.unwrap().len();
    assert_eq!(read(0, 2, usize::MAX).await, 2);
    assert_eq!(read(0, usize::MAX, usize::MAX).await, 3);
    assert_eq!(read(0, 9, 0).await, 1, "one always fits");
    // They are equally long, apart from what is the sequence.
    let one = serde_json::to_string(&event("a")).unwrap().len();
    assert_eq!(read(0, 9, 2 * one).await, 2);
    assert_eq!(read(0, 9, 2 * one - 1).await, 1);
    assert_eq!(read(3, 9, usize::MAX).await, 0);
    assert_eq!(read(99, 9, usize::MAX).await, 0);
}

pub(super) async fn any_text_is_kept_as_it_is(engine: impl Engine) {
    let log = engine.open().await;
    let texts = [
        r"\",
        r#"""#,
        r#"\""#,
        "{",
        "}",
        ",",
        "NULL",
        "",
        " ",
        "'",
        "$1",
        "{\"a\",NULL}",
        "\u{10FFFF}ß\u{200D}",
    ];
    let of = |text: &str, n: usize| {
        let data = serde_json::json!({"id": text, "title": format!("{text}\u{0}\u{1f}\r\n\t")});
        let event =
            serde_json::json!({"id": format!("{n}{text}"), "source": text, "type": text, "data": data});
        serde_json::from_value::<Envelope>(event).unwrap()
    };
    let all: Vec<_> = texts.iter().enumerate().map(|(n, text)| of(text, n)).collect();
    let places = log.append(all.clone(), at(1)).await.unwrap();
    for (event, place) in all.iter().zip(&places) {
        assert_eq!(log.append(vec![event.clone()], at(2)).await.unwrap(), [*place]);
        let other = Envelope { kind: "Other".into(), ..event.clone() };
        let conflict = log.append(vec![other], at(2)).await.unwrap_err();
        let LogError::Conflict(conflict) = conflict else { panic!("{conflict}") };
        assert_eq!((Some(conflict.id), Some(conflict.source_name)), (event.id.clone(), event.source.clone()));
    }
    let stored: Vec<Envelope> =
        read_all(&log).await.iter().map(|event| serde_json::from_str(&event.json).unwrap()).collect();
    let expected: Vec<_> = all
        .into_iter()
        .zip(places)
        .map(|(event, place)| Envelope { sequence: Some(place), ..event })
        .collect();
    assert_eq!(stored, expected);
}

pub(super) async fn sequences_have_no_gaps_whatever_is_repeated(engine: impl Engine) {
    let log = engine.open().await;
    let batches = prop::collection::vec(prop::collection::vec(0..12_u8, 1..6), 1..12);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(16) });
    let runs = std::iter::repeat_with(|| batches.new_tree(&mut runner).unwrap().current()).take(16);
    for (case, batches) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        let before = log.head().borrow().get();
        let mut first = HashMap::new();
        for batch in &batches {
            let events = batch.iter().map(|n| event(&format!("{case}-{n}"))).collect();
            let sequences = log.append(events, Timestamp::default()).await.unwrap();
            for (n, sequence) in batch.iter().zip(sequences) {
                assert_eq!(*first.entry(*n).or_insert(sequence), sequence, "{batches:?}");
            }
        }
        let read = log.read(Sequence::new(before), 100, usize::MAX).await.unwrap();
        let sequences: Vec<i64> = read.iter().map(|e| e.sequence.get()).collect();
        let expected: Vec<_> = (before + 1..=before + first.len() as i64).collect();
        assert_eq!(sequences, expected, "{batches:?}");
    }
}

async fn publish(log: impl EventLog, by: &str) -> Vec<(String, i64)> {
    let mut places = Vec::new();
    for n in 0..60 {
        // Its own, one that the other publishes as well, and one again.
        let ids = [format!("{by}-{n}"), format!("both-{n}"), format!("{by}-{}", n / 2)];
        let events = ids.iter().map(|id| event(id)).collect();
        let sequences = log.append(events, at(n)).await.unwrap();
        places.extend(ids.into_iter().zip(numbers(sequences)));
    }
    places
}

pub(super) async fn appends_by_two_buses_are_dense(engine: impl Engine) {
    let one = engine.open().await;
    let two = engine.another(&one).await;
    let tasks = [(&one, "a"), (&two, "b"), (&one, "c"), (&two, "d")];
    let tasks = tasks.map(|(log, by)| kit::rt::spawn(publish(log.clone(), by)));
    let mut places = HashMap::new();
    for task in tasks {
        for (id, place) in task.await.unwrap() {
            assert_eq!(*places.entry(id.clone()).or_insert(place), place, "{id} has one place");
        }
    }
    for log in [one, two] {
        reaches(&log, 300).await;
        let events = read_all(&log).await;
        let found: Vec<_> = events.iter().map(|event| event.sequence.get()).collect();
        assert_eq!(found, (1..=300).collect::<Vec<_>>());
        for (event, id) in events.iter().zip(ids(&events)) {
            assert_eq!(places[&id], event.sequence.get());
        }
    }
}

pub(super) async fn what_the_head_names_can_be_read_by_everybody(engine: impl Engine) {
    let one = engine.open().await;
    let two = engine.another(&one).await;
    let looks = [(one.clone(), two.clone()), (two.clone(), one.clone())].map(|(watched, read)| {
        kit::rt::spawn(async move {
            let (mut heads, mut seen) = (watched.head(), Sequence::START);
            while seen.get() < 200 {
                let head = *heads.wait_for(|head| *head > seen).await.unwrap();
                let events = watched.read(seen, usize::MAX, usize::MAX).await.unwrap();
                assert!(events.last().unwrap().sequence >= head, "what the head names is there");
                seen = head;
                reaches(&read, head.get()).await;
            }
        })
    });
    for n in 0..100 {
        for (log, by) in [(&one, "one"), (&two, "two")] {
            append_ids(log, &[&format!("{by}-{n}")]).await;
        }
    }
    for look in looks {
        kit::rt::timeout(LIMIT, look).await.expect("all are seen").unwrap();
    }
}
