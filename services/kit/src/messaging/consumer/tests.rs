use super::*;
use crate::messaging::{inbox, outbox};
use proptest::prelude::*;
use shared::events::{EventDiscarded, PostCreated};

mod over_http;

/// Writes each title down; until the table `mended` has a row, a title that begins with "bad" is poison, and for
/// "busy" the store fails. A title that begins with "late" is written once more at the end; "late bad" is poison there.
struct Scribe;

impl Handler for Scribe {
    type Pending = Vec<(Option<i64>, String)>;

    fn apply(
        &self,
        tx: &Connection,
        received: &Received<'_>,
        pending: &mut Self::Pending,
    ) -> Result<(), ApplyError> {
        let Event::PostCreated(post) = received.event else { return Ok(()) };
        let sequence = received.envelope.sequence.map(Sequence::get);
        tx.execute("INSERT INTO seen VALUES (?1, ?2, ?3)", (sequence, post.id.as_str(), &post.title))?;
        if post.title.starts_with("late") {
            pending.push((sequence, post.title.clone()));
        }
        let mended: bool = tx.query_row("SELECT EXISTS (SELECT 1 FROM mended)", [], |r| r.get(0))?;
        match post.title.as_str() {
            "panic" if !mended => panic!("a fault in a handler"),
            "busy" if !mended => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                Err(rusqlite::Error::SqliteFailure(busy, None).into())
            }
            title if title.starts_with("bad") && !mended => Err(ApplyError::Poison("bad title".into())),
            _ => Ok(()),
        }
    }

    fn finish(&self, tx: &Connection, pending: Self::Pending) -> Result<(), ApplyError> {
        for (sequence, title) in pending {
            tx.execute("INSERT INTO late VALUES (?1)", [sequence])?;
            if title == "late bad" {
                return Err(ApplyError::Poison("bad in the end".into()));
            }
        }
        Ok(())
    }
}

fn scribe() -> Applier<'static, Scribe> {
    Applier::new(ServiceName::Query, &Scribe, Timestamp::from_unix_ms(1_000))
}

fn database() -> Connection {
    let c = Connection::open_in_memory().unwrap();
    let tables = "CREATE TABLE seen (seq INTEGER, key TEXT, title TEXT); CREATE TABLE mended (x INTEGER);
                  CREATE TABLE late (seq INTEGER);";
    for sql in [inbox::SCHEMA, outbox::SCHEMA, dead_letters::SCHEMA, dead_letters::BY_EVENT, tables] {
        c.execute_batch(sql).unwrap();
    }
    c
}

fn event(sequence: i64, key: &str, title: &str) -> Envelope {
    let post = PostCreated {
        id: key.parse().unwrap(),
        title: title.into(),
        body: String::new(),
        author: String::new(),
        created_at: None,
        version: None,
    };
    let mut envelope = Envelope::new(&post.into(), format!("e{sequence}"), Timestamp::default()).unwrap();
    envelope.sequence = Some(Sequence::new(sequence));
    envelope
}

fn deliver(c: &Connection, events: &[Envelope]) -> Applied {
    Applier::new(ServiceName::Query, &Scribe, Timestamp::default())
        .apply(c, &mut events.to_vec().into())
        .unwrap()
        .0
}

fn seen(c: &Connection) -> Vec<i64> {
    let mut rows = c.prepare("SELECT seq FROM seen ORDER BY rowid").unwrap();
    rows.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

fn letters(c: &Connection) -> Vec<i64> {
    dead_letters::list(c, 0, MAX_LIST).unwrap().iter().filter_map(|l| l.sequence.map(Sequence::get)).collect()
}

#[test]
fn a_duplicate_is_skipped_and_a_gap_says_where_to_go_on() {
    let c = database();
    let events: Vec<_> = (1..=5).map(|n| event(n, "a", "ok")).collect();
    assert_eq!(deliver(&c, &events[..2]), Applied::All { cursor: Sequence::new(2) });
    assert_eq!(deliver(&c, &events[..3]), Applied::All { cursor: Sequence::new(3) });
    assert_eq!(deliver(&c, &events[4..]), Applied::Gap { cursor: Sequence::new(3) });
    assert_eq!(deliver(&c, &events), Applied::All { cursor: Sequence::new(5) });
    assert_eq!(seen(&c), [1, 2, 3, 4, 5]);
}

#[test]
fn what_stands_before_a_gap_is_applied() {
    let c = database();
    let delivery = [event(1, "a", "ok"), event(3, "a", "ok")];
    assert_eq!(deliver(&c, &delivery), Applied::Gap { cursor: Sequence::new(1) });
    assert_eq!(seen(&c), [1]);
}

#[test]
fn a_poison_event_blocks_only_its_own_key() {
    let c = database();
    let delivery = [
        event(1, "a", "bad"),
        event(2, "b", "ok"),
        event(3, "a", "ok"),
        event(4, "b", "ok"),
        event(5, "c", "panic"),
        event(6, "a", "bad too"),
        event(7, "a", "ok"),
    ];
    assert_eq!(deliver(&c, &delivery), Applied::All { cursor: Sequence::new(7) });
    assert_eq!(seen(&c), [2, 4], "what a failed handler wrote is taken back");
    assert_eq!(letters(&c), [1, 3, 5, 6, 7]);
    let list = dead_letters::list(&c, 0, MAX_LIST).unwrap();
    assert_eq!((list[0].attempts, list[1].attempts), (1, 0));
    assert_eq!(list[1].error, dead_letters::WAITS);

    // A redrive that still fails keeps everything, and counts the attempt.
    let redriven = scribe().redrive(&c, list[0].id).unwrap();
    assert_eq!(redriven, Some(Redriven { applied: 0, remaining: 4 }));
    assert_eq!(dead_letters::list(&c, 0, MAX_LIST).unwrap()[0].attempts, 2);

    c.execute("INSERT INTO mended VALUES (1)", []).unwrap();
    // Whichever letter of the key is named, the key is redriven from its beginning.
    let redriven = scribe().redrive(&c, list[4].id).unwrap();
    assert_eq!(redriven, Some(Redriven { applied: 4, remaining: 0 }));
    assert_eq!(seen(&c), [2, 4, 1, 3, 6, 7]);
    assert_eq!(letters(&c), [5]);
}

#[test]
fn a_discard_lets_the_others_of_its_key_go_on_and_stays_on_record() {
    let c = database();
    deliver(&c, &[event(1, "a", "bad"), event(2, "a", "ok"), event(3, "a", "bad"), event(4, "a", "ok")]);
    let first = dead_letters::list(&c, 0, MAX_LIST).unwrap()[0].id;
    let redriven = scribe().discard(&c, first).unwrap();
    assert_eq!(redriven, Some(Redriven { applied: 1, remaining: 2 }));
    assert_eq!((seen(&c), letters(&c)), (vec![2], vec![3, 4]));
    let kept: i64 = c
        .query_row("SELECT count(*) FROM dead_letters WHERE discarded_at IS NOT NULL", [], |r| r.get(0))
        .unwrap();
    assert_eq!(kept, 1);
    assert_eq!(scribe().discard(&c, first).unwrap(), None);
}

#[test]
fn data_that_cannot_be_read_and_a_wrong_publisher_are_parked() {
    let c = database();
    let mut unreadable = event(1, "a", "ok");
    unreadable.data = serde_json::value::RawValue::from_string(r#"{"id":"a","title":{}}"#.into()).unwrap();
    let mut forged = event(2, "b", "ok");
    forged.source = Some("/comments".into());
    let mut unknown = event(3, "c", "ok");
    unknown.kind = "SomethingElse".into();
    assert_eq!(deliver(&c, &[unreadable, forged, unknown]), Applied::All { cursor: Sequence::new(3) });
    assert_eq!(letters(&c), [1, 2]);
    assert!(seen(&c).is_empty());
}

#[test]
fn a_bare_event_is_applied_and_one_with_an_id_only_once() {
    let c = database();
    let mut numbered = event(1, "a", "ok");
    numbered.sequence = None;
    let bare = Envelope::bare(&numbered.event().unwrap().unwrap()).unwrap();
    deliver(&c, &[numbered.clone(), bare.clone()]);
    deliver(&c, &[numbered, bare]);
    let count: i64 = c.query_row("SELECT count(*) FROM seen", [], |r| r.get(0)).unwrap();
    assert_eq!(count, 3, "the bare one has nothing to be known again by");
    assert_eq!(inbox::cursor(&c).unwrap(), Sequence::START);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_deliveries_every_event_takes_effect_once_and_in_the_order_of_its_key(
        titles in prop::collection::vec((0..4_usize, prop::bool::weighted(0.2)), 1..20),
        cuts in prop::collection::vec((0..20_usize, 1..6_usize), 0..40),
    ) {
        let c = database();
        let log: Vec<_> = titles.iter().enumerate().map(|(at, (key, bad))| {
            event(at as i64 + 1, ["a", "b", "c", "d"][*key], if *bad { "bad" } else { "ok" })
        }).collect();
        for (from, len) in cuts {
            let from = from.min(log.len());
            deliver(&c, &log[from..(from + len).min(log.len())]);
        }
        // Whatever happened, the rest follows the way the bus does it: from the cursor on.
        loop {
            let cursor = inbox::cursor(&c).unwrap().get() as usize;
            if cursor == log.len() { break; }
            deliver(&c, &log[cursor..]);
        }
        c.execute("INSERT INTO mended VALUES (1)", []).unwrap();
        while let Some(letter) = dead_letters::list(&c, 0, MAX_LIST).unwrap().first() {
            scribe().redrive(&c, letter.id).unwrap();
        }
        let mut all = seen(&c);
        for key in ["a", "b", "c", "d"] {
            let of_key = c.prepare("SELECT seq FROM seen WHERE key = ?1 ORDER BY rowid").unwrap()
                .query_map([key], |r| r.get::<_, i64>(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>();
            prop_assert!(of_key.is_sorted());
        }
        all.sort_unstable();
        prop_assert_eq!(all, (1..=log.len() as i64).collect::<Vec<_>>());
    }
}

const TITLES: [&str; 8] = ["ok", "ok", "late", "late", "ok", "late bad", "bad", "discard"];

/// Every row that deliveries write.
fn all_rows(c: &Connection) -> Vec<String> {
    let tables = [
        "SELECT json_array(seq, key, title) FROM seen ORDER BY rowid",
        "SELECT json_array(seq) FROM late ORDER BY rowid",
        "SELECT json_array(id, key, seq, envelope, error, attempts, parked_at, discarded_at) FROM dead_letters ORDER BY id",
        "SELECT json_array(seq, id) FROM cursor",
        "SELECT json_array(id, envelope) FROM outbox ORDER BY seq",
    ];
    let rows = tables.iter().flat_map(|sql| {
        let mut rows = c.prepare(sql).unwrap();
        rows.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect::<Vec<String>>()
    });
    rows.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_delivery_writes_what_its_events_write_one_by_one(
        titles in prop::collection::vec((0..3_usize, prop::sample::select(TITLES.to_vec())), 1..20),
    ) {
        let log: Vec<_> = titles.iter().enumerate().map(|(at, (key, title))| {
            let sequence = at as i64 + 1;
            let mut logged = event(sequence, ["a", "b", "c"][*key], title);
            if *title == "discard" {
                // Of the event before it, whether that was parked or not.
                let discarded = EventDiscarded { event_source: "/posts".into(), event_id: format!("e{at}") };
                let id = format!("e{sequence}");
                logged = Envelope::of_discard(&discarded, ServiceName::Query, id, Timestamp::default()).unwrap();
                logged.sequence = Some(Sequence::new(sequence));
            }
            logged
        }).collect();
        let (together, one_by_one) = (database(), database());
        let mut applied = vec![];
        for event in &log {
            let mut applier = scribe();
            applier.apply(&one_by_one, &mut vec![event.clone()].into()).unwrap();
            applied.append(&mut applier.applied);
        }
        let mut applier = scribe();
        applier.apply(&together, &mut log.into()).unwrap();
        prop_assert_eq!(all_rows(&together), all_rows(&one_by_one));
        prop_assert_eq!(applier.applied, applied);
    }
}

#[test]
fn the_list_goes_on_after_an_id_and_a_page_is_bounded_in_events_and_bytes() {
    let c = database();
    deliver(&c, &(1..=4).map(|n| event(n, "a", "bad")).collect::<Vec<_>>());
    let ids = |after, limit| {
        let page = dead_letters::list(&c, after, limit).unwrap();
        page.iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(0, 2), [1, 2]);
    assert_eq!(ids(2, 1_000_000), [3, 4]);
    assert_eq!(ids(4, 2), [0; 0]);
    assert_eq!(ids(0, 0), [0; 0]);
    let large = "bad ".to_owned() + &"x".repeat(600 * 1024);
    deliver(&c, &(5..=6).map(|n| event(n, "b", &large)).collect::<Vec<_>>());
    assert_eq!(ids(0, MAX_LIST), [1, 2, 3, 4, 5], "two large ones are too much");
    assert_eq!(ids(5, MAX_LIST), [6]);
}

#[test]
fn a_broken_event_that_is_not_for_this_service_stops_nothing_here() {
    let c = database();
    let mut broken = event(1, "a", "ok");
    broken.data = serde_json::value::RawValue::from_string(r#"{"id":"a","title":{}}"#.into()).unwrap();
    let (mut verdict, fine) = (broken.clone(), event(3, "a", "ok"));
    verdict.kind = "CommentModerated".into();
    verdict.sequence = Some(Sequence::new(2));
    // Verdicts are for comments alone; posts are read by query, and not by moderation.
    assert_eq!(deliver(&c, &[broken.clone(), verdict.clone()]), Applied::All { cursor: Sequence::new(2) });
    assert_eq!(letters(&c), [1]);
    let c = database();
    let apply = |events: &[Envelope]| {
        Applier::new(ServiceName::Moderation, &Scribe, Timestamp::default())
            .apply(&c, &mut events.to_vec().into())
    };
    assert_eq!(apply(&[broken]).unwrap().0, Applied::All { cursor: Sequence::new(1) });
    assert_eq!(apply(&[verdict]).unwrap().0, Applied::All { cursor: Sequence::new(2) });
    assert_eq!(apply(&[fine]).unwrap().0, Applied::All { cursor: Sequence::new(3) });
    assert_eq!((letters(&c), seen(&c)), (vec![2], vec![]), "its own verdict is broken, and waits");
}

/// The events that the outbox holds, as the bus would deliver them from this place of the log on.
fn published(c: &Connection, first: i64) -> Vec<Envelope> {
    let mut rows = c.prepare("SELECT envelope FROM outbox ORDER BY seq").unwrap();
    let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let events = rows.map(|json| serde_json::from_str::<Envelope>(&json.unwrap()).unwrap());
    (first..)
        .zip(events)
        .map(|(sequence, event)| Envelope { sequence: Some(Sequence::new(sequence)), ..event })
        .collect()
}

/// Everything that the dead letters say but for the times at which they were parked.
fn record(c: &Connection) -> Vec<(String, i64, Option<i64>)> {
    let mut rows = c.prepare("SELECT key, seq, discarded_at FROM dead_letters ORDER BY seq").unwrap();
    let rows = rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_store_that_is_rebuilt_discards_again_what_was_discarded() {
    let c = database();
    let mut log = vec![
        event(1, "a", "bad"),
        event(2, "a", "ok"),
        event(3, "b", "ok"),
        event(4, "a", "bad"),
        event(5, "a", "ok"),
    ];
    deliver(&c, &log);
    for sequence in [1, 4] {
        let letters = dead_letters::list(&c, 0, MAX_LIST).unwrap();
        let letter = letters.iter().find(|l| l.sequence == Some(Sequence::new(sequence))).unwrap();
        scribe().discard(&c, letter.id).unwrap().unwrap();
    }
    assert_eq!((seen(&c), letters(&c)), (vec![3, 2, 5], vec![]));
    // Events that follow before the discards are in the log, and after.
    log.push(event(6, "a", "ok"));
    log.extend(published(&c, 7));
    log.push(event(9, "a", "ok"));
    assert_eq!(deliver(&c, &log), Applied::All { cursor: Sequence::new(9) });
    assert_eq!(
        (seen(&c), letters(&c)),
        (vec![3, 2, 5, 6, 9], vec![]),
        "its own discards change nothing here"
    );

    for size in 1..=log.len() {
        let rebuilt = database();
        for part in log.chunks(size) {
            deliver(&rebuilt, part);
        }
        assert_eq!(seen(&rebuilt), [3, 2, 5, 6, 9], "deliveries of {size}");
        assert_eq!(record(&rebuilt), record(&c), "deliveries of {size}");
        assert!(published(&rebuilt, 1).is_empty(), "and says nothing again");
    }

    // The discards of another service are not its own.
    let other = database();
    for envelope in &mut log {
        if envelope.kind == EventDiscarded::TYPE {
            envelope.source = Some(ServiceName::Comments.source().to_owned());
        }
    }
    deliver(&other, &log);
    assert_eq!((seen(&other), letters(&other)), (vec![3], vec![1, 2, 4, 5, 6, 9]));
}

#[test]
fn what_is_not_in_the_log_is_discarded_without_an_event() {
    let c = database();
    let mut by_hand = event(1, "a", "bad");
    by_hand.sequence = None;
    deliver(&c, &[by_hand]);
    scribe().discard(&c, 1).unwrap().unwrap();
    assert!(published(&c, 1).is_empty());
}

/// A subscriber that keeps what is logged.
fn logged(f: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, f);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_parked_event_is_logged_with_its_trace_and_without_its_text() {
    let c = database();
    let mut unreadable = event(1, "a", "ok");
    unreadable.data =
        serde_json::value::RawValue::from_string(r#"{"id":"private words","title":"x"}"#.into()).unwrap();
    unreadable.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    let log = logged(|| {
        deliver(&c, &[unreadable, event(2, "b", "bad")]);
    });
    for part in
        [r#""event.id":"e1""#, "invalid data", "refused by the handler", "4bf92f3577b34da6a3ce929d0e0e4736"]
    {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    for private in ["private words", "bad title"] {
        assert!(!log.contains(private), "{log}");
    }
    let errors: Vec<_> = dead_letters::list(&c, 0, MAX_LIST).unwrap().into_iter().map(|l| l.error).collect();
    assert_eq!(errors[1], "bad title", "the operator is told everything");
}
