use super::*;
use crate::messaging::inbox;
use crate::store::{Memory, Migration, values};
use proptest::prelude::*;
use shared::events::{EventDiscarded, PostCreated};

mod over_http;

/// The tables of a peer, and those of [`Scribe`].
const MIGRATIONS: &[Migration] = &[
    crate::app::peer::SCHEMA,
    crate::app::peer::DEAD_LETTERS_BY_EVENT,
    crate::app::peer::DEAD_LETTERS_EVENT_COLUMNS,
    crate::app::peer::CURSOR_ROW,
    &["CREATE TABLE seen (seq INTEGER, key TEXT, title TEXT); CREATE TABLE mended (x INTEGER);
       CREATE TABLE late (seq INTEGER);"],
];

/// Writes each title down; until the table `mended` has a row, a title that begins with "bad" is poison, and for
/// "busy" the store fails. A title that begins with "late" is written once more at the end; "late bad" is poison there.
struct Scribe;

impl Handler for Scribe {
    type Pending = Vec<(Option<i64>, String)>;

    fn apply(
        &self,
        tx: &Tx<'_>,
        received: &Received<'_>,
        pending: &mut Self::Pending,
    ) -> Result<(), ApplyError> {
        let Event::PostCreated(post) = received.event else { return Ok(()) };
        let sequence = received.envelope.sequence.map(Sequence::get);
        let sql = "INSERT INTO seen (seq, key, title) VALUES ($1, $2, $3)";
        tx.execute(sql, values![sequence, post.id.as_str(), &post.title])?;
        if post.title.starts_with("late") {
            pending.push((sequence, post.title.clone()));
        }
        let mended = tx.one("SELECT EXISTS (SELECT 1 FROM mended)", &[], |row| row.bool(0))?;
        match post.title.as_str() {
            "panic" if !mended => panic!("a fault in a handler"),
            "busy" if !mended => Err(SqlError::sqlite(rusqlite::ffi::SQLITE_BUSY, "busy").into()),
            title if title.starts_with("bad") && !mended => Err(ApplyError::Poison("bad title".into())),
            _ => Ok(()),
        }
    }

    fn finish(&self, tx: &Tx<'_>, pending: Self::Pending) -> Result<(), ApplyError> {
        for (sequence, title) in pending {
            tx.execute("INSERT INTO late VALUES ($1)", values![sequence])?;
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

fn database() -> Memory {
    Memory::new(MIGRATIONS)
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

fn deliver(tx: &Tx<'_>, events: &[Envelope]) -> Applied {
    Applier::new(ServiceName::Query, &Scribe, Timestamp::default())
        .apply(tx, &mut events.to_vec().into())
        .unwrap()
        .0
}

fn seen(tx: &Tx<'_>) -> Vec<i64> {
    tx.query("SELECT seq FROM seen ORDER BY rowid", &[], |row| row.int(0)).unwrap()
}

fn letters(tx: &Tx<'_>) -> Vec<i64> {
    dead_letters::list(tx, 0, MAX_LIST)
        .unwrap()
        .iter()
        .filter_map(|l| l.sequence.map(Sequence::get))
        .collect()
}

#[test]
fn a_duplicate_is_skipped_and_a_gap_says_where_to_go_on() {
    let memory = database();
    let tx = &memory.tx();
    let events: Vec<_> = (1..=5).map(|n| event(n, "a", "ok")).collect();
    assert_eq!(deliver(tx, &events[..2]), Applied::All { cursor: Sequence::new(2) });
    assert_eq!(deliver(tx, &events[..3]), Applied::All { cursor: Sequence::new(3) });
    assert_eq!(deliver(tx, &events[4..]), Applied::Gap { cursor: Sequence::new(3) });
    assert_eq!(deliver(tx, &events), Applied::All { cursor: Sequence::new(5) });
    assert_eq!(seen(tx), [1, 2, 3, 4, 5]);
}

#[test]
fn what_stands_before_a_gap_is_applied() {
    let memory = database();
    let tx = &memory.tx();
    let delivery = [event(1, "a", "ok"), event(3, "a", "ok")];
    assert_eq!(deliver(tx, &delivery), Applied::Gap { cursor: Sequence::new(1) });
    assert_eq!(seen(tx), [1]);
}

#[test]
fn a_poison_event_blocks_only_its_own_key() {
    let memory = database();
    let tx = &memory.tx();
    let delivery = [
        event(1, "a", "bad"),
        event(2, "b", "ok"),
        event(3, "a", "ok"),
        event(4, "b", "ok"),
        event(5, "c", "panic"),
        event(6, "a", "bad too"),
        event(7, "a", "ok"),
    ];
    assert_eq!(deliver(tx, &delivery), Applied::All { cursor: Sequence::new(7) });
    assert_eq!(seen(tx), [2, 4], "what a failed handler wrote is taken back");
    assert_eq!(letters(tx), [1, 3, 5, 6, 7]);
    let list = dead_letters::list(tx, 0, MAX_LIST).unwrap();
    assert_eq!((list[0].attempts, list[1].attempts), (1, 0));
    assert_eq!(list[1].error, dead_letters::WAITS);

    // A redrive that still fails keeps everything, and counts the attempt.
    let redriven = scribe().redrive(tx, list[0].id).unwrap();
    assert_eq!(redriven, Some(Redriven { applied: 0, remaining: 4 }));
    assert_eq!(dead_letters::list(tx, 0, MAX_LIST).unwrap()[0].attempts, 2);

    tx.execute("INSERT INTO mended VALUES (1)", &[]).unwrap();
    // Whichever letter of the key is named, the key is redriven from its beginning.
    let redriven = scribe().redrive(tx, list[4].id).unwrap();
    assert_eq!(redriven, Some(Redriven { applied: 4, remaining: 0 }));
    assert_eq!(seen(tx), [2, 4, 1, 3, 6, 7]);
    assert_eq!(letters(tx), [5]);
}

#[test]
fn a_discard_lets_the_others_of_its_key_go_on_and_stays_on_record() {
    let memory = database();
    let tx = &memory.tx();
    deliver(tx, &[event(1, "a", "bad"), event(2, "a", "ok"), event(3, "a", "bad"), event(4, "a", "ok")]);
    let first = dead_letters::list(tx, 0, MAX_LIST).unwrap()[0].id;
    let redriven = scribe().discard(tx, first).unwrap();
    assert_eq!(redriven, Some(Redriven { applied: 1, remaining: 2 }));
    assert_eq!((seen(tx), letters(tx)), (vec![2], vec![3, 4]));
    let sql = "SELECT count(*) FROM dead_letters WHERE discarded_at IS NOT NULL";
    let kept: i64 = tx.one(sql, &[], |row| row.int(0)).unwrap();
    assert_eq!(kept, 1);
    assert_eq!(scribe().discard(tx, first).unwrap(), None);
}

#[test]
fn data_that_cannot_be_read_and_a_wrong_publisher_are_parked() {
    let memory = database();
    let tx = &memory.tx();
    let mut unreadable = event(1, "a", "ok");
    unreadable.data = serde_json::value::RawValue::from_string(r#"{"id":"a","title":{}}"#.into()).unwrap();
    let mut forged = event(2, "b", "ok");
    forged.source = Some("/comments".into());
    let mut unknown = event(3, "c", "ok");
    unknown.kind = "SomethingElse".into();
    assert_eq!(deliver(tx, &[unreadable, forged, unknown]), Applied::All { cursor: Sequence::new(3) });
    assert_eq!(letters(tx), [1, 2]);
    assert!(seen(tx).is_empty());
}

#[test]
fn a_bare_event_is_applied_and_one_with_an_id_only_once() {
    let memory = database();
    let tx = &memory.tx();
    let mut numbered = event(1, "a", "ok");
    numbered.sequence = None;
    let bare = Envelope::bare(&numbered.event().unwrap().unwrap()).unwrap();
    deliver(tx, &[numbered.clone(), bare.clone()]);
    deliver(tx, &[numbered, bare]);
    let count: i64 = tx.one("SELECT count(*) FROM seen", &[], |row| row.int(0)).unwrap();
    assert_eq!(count, 3, "the bare one has nothing to be known again by");
    assert_eq!(inbox::cursor(tx).unwrap(), Sequence::START);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_deliveries_every_event_takes_effect_once_and_in_the_order_of_its_key(
        titles in prop::collection::vec((0..4_usize, prop::bool::weighted(0.2)), 1..20),
        cuts in prop::collection::vec((0..20_usize, 1..6_usize), 0..40),
    ) {
        let memory = database();
        let tx = &memory.tx();
        let log: Vec<_> = titles.iter().enumerate().map(|(at, (key, bad))| {
            event(at as i64 + 1, ["a", "b", "c", "d"][*key], if *bad { "bad" } else { "ok" })
        }).collect();
        for (from, len) in cuts {
            let from = from.min(log.len());
            deliver(tx, &log[from..(from + len).min(log.len())]);
        }
        // Whatever happened, the rest follows the way the bus does it: from the cursor on.
        loop {
            let cursor = inbox::cursor(tx).unwrap().get() as usize;
            if cursor == log.len() { break; }
            deliver(tx, &log[cursor..]);
        }
        tx.execute("INSERT INTO mended VALUES (1)", &[]).unwrap();
        while let Some(letter) = dead_letters::list(tx, 0, MAX_LIST).unwrap().first() {
            scribe().redrive(tx, letter.id).unwrap();
        }
        let mut all = seen(tx);
        for key in ["a", "b", "c", "d"] {
            let sql = "SELECT seq FROM seen WHERE key = $1 ORDER BY rowid";
            let of_key = tx.query(sql, values![key], |row| row.int::<i64>(0)).unwrap();
            prop_assert!(of_key.is_sorted());
        }
        all.sort_unstable();
        prop_assert_eq!(all, (1..=log.len() as i64).collect::<Vec<_>>());
    }
}

const TITLES: [&str; 8] = ["ok", "ok", "late", "late", "ok", "late bad", "bad", "discard"];

/// Every row that deliveries write.
fn all_rows(tx: &Tx<'_>) -> Vec<String> {
    let tables = [
        "SELECT json_array(seq, key, title) FROM seen ORDER BY rowid",
        "SELECT json_array(seq) FROM late ORDER BY rowid",
        "SELECT json_array(id, key, seq, envelope, error, attempts, parked_at, discarded_at) FROM dead_letters ORDER BY id",
        "SELECT json_array(seq, id) FROM cursor",
        "SELECT json_array(id, envelope) FROM outbox ORDER BY seq",
    ];
    let rows = |sql: &&str| tx.query(sql, &[], |row| Ok(row.text(0)?.to_owned())).unwrap();
    tables.iter().flat_map(rows).collect()
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
        let memories = (database(), database());
        let (together, one_by_one) = (&memories.0.tx(), &memories.1.tx());
        let mut applied = vec![];
        for event in &log {
            let mut applier = scribe();
            applier.apply(one_by_one, &mut vec![event.clone()].into()).unwrap();
            applied.append(&mut applier.outcome.applied);
        }
        let mut applier = scribe();
        applier.apply(together, &mut log.into()).unwrap();
        prop_assert_eq!(all_rows(together), all_rows(one_by_one));
        prop_assert_eq!(applier.outcome.applied, applied);
    }
}

#[test]
fn the_list_goes_on_after_an_id_and_a_page_is_bounded_in_events_and_bytes() {
    let memory = database();
    let tx = &memory.tx();
    deliver(tx, &(1..=4).map(|n| event(n, "a", "bad")).collect::<Vec<_>>());
    let ids = |after, limit| {
        let page = dead_letters::list(tx, after, limit).unwrap();
        page.iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(0, 2), [1, 2]);
    assert_eq!(ids(2, 1_000_000), [3, 4]);
    assert_eq!(ids(4, 2), [0; 0]);
    assert_eq!(ids(0, 0), [0; 0]);
    let large = "bad ".to_owned() + &"x".repeat(600 * 1024);
    deliver(tx, &(5..=6).map(|n| event(n, "b", &large)).collect::<Vec<_>>());
    assert_eq!(ids(0, MAX_LIST), [1, 2, 3, 4, 5], "two large ones are too much");
    assert_eq!(ids(5, MAX_LIST), [6]);
}

#[test]
fn a_broken_event_that_is_not_for_this_service_stops_nothing_here() {
    let memory = database();
    let tx = &memory.tx();
    let mut broken = event(1, "a", "ok");
    broken.data = serde_json::value::RawValue::from_string(r#"{"id":"a","title":{}}"#.into()).unwrap();
    let (mut verdict, fine) = (broken.clone(), event(3, "a", "ok"));
    verdict.kind = "CommentModerated".into();
    verdict.sequence = Some(Sequence::new(2));
    // Verdicts are for comments alone; posts are read by query, and not by moderation.
    assert_eq!(deliver(tx, &[broken.clone(), verdict.clone()]), Applied::All { cursor: Sequence::new(2) });
    assert_eq!(letters(tx), [1]);
    let memory = database();
    let tx = &memory.tx();
    let apply = |events: &[Envelope]| {
        Applier::new(ServiceName::Moderation, &Scribe, Timestamp::default())
            .apply(tx, &mut events.to_vec().into())
    };
    assert_eq!(apply(&[broken]).unwrap().0, Applied::All { cursor: Sequence::new(1) });
    assert_eq!(apply(&[verdict]).unwrap().0, Applied::All { cursor: Sequence::new(2) });
    assert_eq!(apply(&[fine]).unwrap().0, Applied::All { cursor: Sequence::new(3) });
    assert_eq!((letters(tx), seen(tx)), (vec![2], vec![]), "its own verdict is broken, and waits");
}

/// The events that the outbox holds, as the bus would deliver them from this place of the log on.
fn published(tx: &Tx<'_>, first: i64) -> Vec<Envelope> {
    let sql = "SELECT envelope FROM outbox ORDER BY seq";
    let events =
        tx.query(sql, &[], |row| Ok(serde_json::from_str::<Envelope>(row.text(0)?).unwrap())).unwrap();
    (first..)
        .zip(events)
        .map(|(sequence, event)| Envelope { sequence: Some(Sequence::new(sequence)), ..event })
        .collect()
}

/// Everything that the dead letters say but for the times at which they were parked.
fn record(tx: &Tx<'_>) -> Vec<(String, i64, Option<i64>)> {
    let sql = "SELECT key, seq, discarded_at FROM dead_letters ORDER BY seq";
    tx.query(sql, &[], |row| Ok((row.text(0)?.to_owned(), row.int(1)?, row.opt_int(2)?))).unwrap()
}

#[test]
fn a_store_that_is_rebuilt_discards_again_what_was_discarded() {
    let memory = database();
    let tx = &memory.tx();
    let mut log = vec![
        event(1, "a", "bad"),
        event(2, "a", "ok"),
        event(3, "b", "ok"),
        event(4, "a", "bad"),
        event(5, "a", "ok"),
    ];
    deliver(tx, &log);
    for sequence in [1, 4] {
        let letters = dead_letters::list(tx, 0, MAX_LIST).unwrap();
        let letter = letters.iter().find(|l| l.sequence == Some(Sequence::new(sequence))).unwrap();
        scribe().discard(tx, letter.id).unwrap().unwrap();
    }
    assert_eq!((seen(tx), letters(tx)), (vec![3, 2, 5], vec![]));
    // Events that follow before the discards are in the log, and after.
    log.push(event(6, "a", "ok"));
    log.extend(published(tx, 7));
    log.push(event(9, "a", "ok"));
    assert_eq!(deliver(tx, &log), Applied::All { cursor: Sequence::new(9) });
    assert_eq!(
        (seen(tx), letters(tx)),
        (vec![3, 2, 5, 6, 9], vec![]),
        "its own discards change nothing here"
    );

    for size in 1..=log.len() {
        let rebuilt = database();
        let rebuilt = &rebuilt.tx();
        for part in log.chunks(size) {
            deliver(rebuilt, part);
        }
        assert_eq!(seen(rebuilt), [3, 2, 5, 6, 9], "deliveries of {size}");
        assert_eq!(record(rebuilt), record(tx), "deliveries of {size}");
        assert!(published(rebuilt, 1).is_empty(), "and says nothing again");
    }

    // The discards of another service are not its own.
    let other = database();
    let other = &other.tx();
    for envelope in &mut log {
        if envelope.kind == EventDiscarded::TYPE {
            envelope.source = Some(ServiceName::Comments.source().to_owned());
        }
    }
    deliver(other, &log);
    assert_eq!((seen(other), letters(other)), (vec![3], vec![1, 2, 4, 5, 6, 9]));
}

#[test]
fn what_is_not_in_the_log_is_discarded_without_an_event() {
    let memory = database();
    let tx = &memory.tx();
    let mut by_hand = event(1, "a", "bad");
    by_hand.sequence = None;
    deliver(tx, &[by_hand]);
    scribe().discard(tx, 1).unwrap().unwrap();
    assert!(published(tx, 1).is_empty());
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
    // While there is only one, tracing lets whichever thread comes to a line first decide for all whether it is logged.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    tracing::subscriber::with_default(subscriber, f);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_parked_event_is_logged_with_its_trace_and_without_its_text() {
    let memory = database();
    let tx = &memory.tx();
    let mut unreadable = event(1, "a", "ok");
    unreadable.data =
        serde_json::value::RawValue::from_string(r#"{"id":"private words","title":"x"}"#.into()).unwrap();
    unreadable.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    let log = logged(|| {
        deliver(tx, &[unreadable, event(2, "b", "bad")]);
    });
    for part in
        [r#""event.id":"e1""#, "invalid data", "refused by the handler", "4bf92f3577b34da6a3ce929d0e0e4736"]
    {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    for private in ["private words", "bad title"] {
        assert!(!log.contains(private), "{log}");
    }
    let errors: Vec<_> = dead_letters::list(tx, 0, MAX_LIST).unwrap().into_iter().map(|l| l.error).collect();
    assert_eq!(errors[1], "bad title", "the operator is told everything");
}

#[test]
fn a_delivery_that_is_read_meanwhile_can_be_applied_again_from_its_beginning() {
    let memory = database();
    let tx = &memory.tx();
    let events: Vec<_> = (1..=600).map(|n| event(n, "a", "ok")).collect();
    let bytes = serde_json::to_vec(&events).unwrap().into();
    let body = RawBody { bytes, content_type: "application/json".to_owned() };
    let (mut events, read) = Incoming::reading(body, ServiceName::Query);
    read().unwrap();
    let all = Applied::All { cursor: Sequence::new(600) };
    let taken_back = tx.savepoint(|tx| {
        assert_eq!(scribe().apply(tx, &mut events)?.0, all);
        Err::<(), _>(SqlError::data("taken back"))
    });
    taken_back.unwrap_err();
    assert_eq!(seen(tx), [0; 0]);
    assert_eq!(scribe().apply(tx, &mut events).unwrap().0, all);
    assert_eq!(seen(tx), (1..=600).collect::<Vec<_>>());
}
