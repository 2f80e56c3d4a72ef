//! Each check fails for the fault that it looks for, and no other check does.

use super::*;
use crate::faults::history::{Logged, Usage};
use crate::faults::ledger::{Outcome, SeenChange, SeenComment, What};
use serde_json::{Value, json};
use shared::EventType::{self, CommentCreated, CommentModerated, CommentUpdated, PostCreated};
use shared::ServiceName::Query;

/// The writes, what readers saw, and the state at the end.
struct Scenario {
    writes: Vec<Write>,
    seen: Seen,
    history: History,
}

/// A post with two comments, one of which breaks the moderation rule; one more write was refused, and one is unknown.
fn good() -> Scenario {
    let mut scenario = Scenario { writes: Vec::new(), seen: Seen::default(), history: History::default() };
    let created = "1970-01-01T00:00:00.009Z";
    scenario.write(What::Post, "A title", Outcome::Acknowledged("p".to_owned()));
    let post = json!({ "id": "p", "title": "A title", "createdAt": created, "version": 1 });
    scenario.log("/posts", "e1", PostCreated, None, post);
    scenario.seen.posts.insert(("p".to_owned(), "A title".to_owned()));
    scenario.see_change(1, None);
    scenario.history.posts.insert("p".to_owned(), "A title".to_owned());

    for (n, (id, content, status)) in
        [("c1", "a pear", "approved"), ("c2", "an Orange", "rejected")].into_iter().enumerate()
    {
        scenario.write(What::Comment("p".to_owned()), content, Outcome::Acknowledged(id.to_owned()));
        let (made, judged, told) = (format!("m{n}"), format!("j{n}"), format!("u{n}"));
        let data = |more: Value| {
            let mut data = json!({ "id": id, "postId": "p", "content": content });
            data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            data
        };
        let origin = json!({ "status": "pending", "authorKey": "k", "createdAt": created, "version": 1 });
        scenario.log("/comments", &made, CommentCreated, None, data(origin));
        let verdict = json!({ "status": status });
        scenario.log("/moderation", &judged, CommentModerated, Some(&made), data(verdict));
        let update = json!({ "status": status, "version": 2 });
        scenario.log("/comments", &told, CommentUpdated, Some(&judged), data(update));
        let place = scenario.history.log.len() as u64;
        scenario.see_change(place, Some(id));
        for status in ["pending", status] {
            let status = status.to_owned();
            scenario.seen.comments.insert(SeenComment { post: "p".to_owned(), id: id.to_owned(), status });
        }
        let held = scenario.history.comments.entry("p".to_owned()).or_default();
        held.push((id.to_owned(), status.to_owned()));
    }
    scenario.write(What::Comment("q".to_owned()), "refused", Outcome::Refused(404));
    scenario.write(What::Post, "perhaps", Outcome::Unknown);
    let rows = [
        r#"["post","p","A title","","",9,1,1,"",1]"#,
        r#"["comment","c1","p",1,9,2,"","k",2,"approved","a pear",null]"#,
        r#"["comment","c2","p",1,9,5,"","k",2,"rejected","an Orange",null]"#,
    ];
    scenario.history.read_model = rows.join("\n") + "\n";
    scenario.history.rebuilt.clone_from(&scenario.history.read_model);
    scenario
}

impl Scenario {
    fn write(&mut self, what: What, text: &str, outcome: Outcome) {
        self.writes.push(Write { what, text: text.to_owned(), keyed: false, outcome });
    }

    fn log(&mut self, source: &str, id: &str, kind: EventType, cause: Option<&str>, data: Value) {
        self.seen.streamed.push(id.to_owned());
        let sequence = self.history.log.len() as u64 + 1;
        let (source, id, kind) = (source.to_owned(), id.to_owned(), Some(kind));
        let cause = cause.map(str::to_owned);
        self.history.log.push(Logged { sequence, source, id, kind, cause, data });
    }

    fn see_change(&mut self, sequence: u64, comment: Option<&str>) {
        let change = SeenChange { sequence, post: "p".to_owned(), comment: comment.map(str::to_owned) };
        self.seen.changes.insert(change);
    }

    /// Numbers the events again, after some were added, removed or moved.
    fn renumber(&mut self) {
        self.seen.streamed.clear();
        for (event, sequence) in self.history.log.iter_mut().zip(1..) {
            event.sequence = sequence;
            self.seen.streamed.push(event.id.clone());
        }
        self.seen.changes.clear();
    }

    /// The checks that fail.
    fn failing(&self) -> Vec<&'static str> {
        let checks = history(&self.writes, &self.seen, &self.history);
        checks.iter().filter(|check| !check.holds()).map(|check| check.name).collect()
    }
}

const ACKNOWLEDGED: &str = "acknowledged writes are once in the log and once in the service's store";
const UNANSWERED: &str = "no write exists twice: unanswered ones once or not at all, refused ones not at all";
const NOTHING_ELSE: &str = "nothing exists that nobody wrote, and the stores match the log";
const SEQUENCES: &str = "the log has no gap and no event twice";
const VERDICT: &str = "every comment has exactly one verdict, the one that the rules give";
const ORDER: &str = "the log keeps each key's order: post, comment, verdict, update, each after its cause";
const TAKEN: &str = "comments were published in the order in which they were taken";
const PAGES: &str = "no page showed what is not in the log";
const CHANGES: &str = "every change sent by /live is the one with that sequence in the log";
const STREAM: &str = "the streamed log is the log, to its end";
const REBUILT: &str = "the read model is byte-identical to one rebuilt from the log alone";
const FOLDED: &str = "the read model is a plain fold of the log";

/// The checks that fail after this change of a good history.
fn after(change: impl FnOnce(&mut Scenario)) -> Vec<&'static str> {
    let mut scenario = good();
    change(&mut scenario);
    scenario.failing()
}

#[test]
fn a_good_history_passes() {
    assert_eq!(after(|_| {}), [""; 0]);
}

#[test]
fn an_unknown_write_may_be_there() {
    let there = |scenario: &mut Scenario| {
        scenario.log("/posts", "e2", PostCreated, None, json!({ "id": "p2", "title": "perhaps" }));
        scenario.history.posts.insert("p2".to_owned(), "perhaps".to_owned());
        let row = "[\"post\",\"p2\",\"perhaps\",\"\",\"\",0,8,null,\"\",0]\n";
        let at = scenario.history.read_model.find('\n').unwrap() + 1;
        scenario.history.read_model.insert_str(at, row);
        scenario.history.rebuilt.clone_from(&scenario.history.read_model);
    };
    assert_eq!(after(there), [""; 0]);
    // It may not exist twice, nor if it was refused.
    let refused = after(|scenario| {
        there(scenario);
        scenario.writes.last_mut().unwrap().outcome = Outcome::Refused(422);
    });
    assert_eq!(refused, [UNANSWERED]);
    let twice = after(|scenario| {
        there(scenario);
        scenario.log("/posts", "e3", PostCreated, None, json!({ "id": "p3", "title": "perhaps" }));
        scenario.history.posts.insert("p3".to_owned(), "perhaps".to_owned());
    });
    assert_eq!(twice, [UNANSWERED, FOLDED]);
}

#[test]
fn a_lost_event_is_found() {
    let lost = after(|scenario| {
        scenario.history.log.retain(|event| event.text("id") != "c1");
        scenario.renumber();
    });
    assert_eq!(lost, [ACKNOWLEDGED, NOTHING_ELSE, TAKEN, PAGES, FOLDED]);
}

#[test]
fn a_gap_in_the_log_is_found() {
    assert_eq!(after(|scenario| scenario.history.log.last_mut().unwrap().sequence += 1), [SEQUENCES]);
}

#[test]
fn a_write_that_the_store_lost_is_found() {
    assert_eq!(after(|scenario| scenario.history.posts.clear()), [ACKNOWLEDGED]);
    let comment = after(|scenario| drop(scenario.history.comments.get_mut("p").unwrap().pop()));
    assert_eq!(comment, [ACKNOWLEDGED, VERDICT, TAKEN]);
}

#[test]
fn an_event_that_is_there_twice_is_found() {
    let same_again = after(|scenario| {
        let event = scenario.history.log[0].clone();
        scenario.history.log.insert(1, event);
        scenario.renumber();
    });
    assert_eq!(same_again, [ACKNOWLEDGED, SEQUENCES, FOLDED]);
    let under_another_id = after(|scenario| {
        let event = Logged { id: "other".to_owned(), ..scenario.history.log[1].clone() };
        scenario.history.log.insert(1, event);
        scenario.renumber();
    });
    assert_eq!(under_another_id, [ACKNOWLEDGED, ORDER, TAKEN, FOLDED]);
}

#[test]
fn a_write_that_was_made_twice_is_found() {
    let twice = |scenario: &mut Scenario| {
        let data =
            json!({ "id": "p2", "title": "A title", "createdAt": "1970-01-01T00:00:00.009Z", "version": 1 });
        scenario.log("/posts", "e2", PostCreated, None, data);
        scenario.history.posts.insert("p2".to_owned(), "A title".to_owned());
        let at = scenario.history.read_model.find('\n').unwrap() + 1;
        scenario.history.read_model.insert_str(at, "[\"post\",\"p2\",\"A title\",\"\",\"\",9,8,1,\"\",0]\n");
        scenario.history.rebuilt.clone_from(&scenario.history.read_model);
    };
    assert_eq!(after(twice), [UNANSWERED]);
    // That is no fault if the writer tried again without a key after a first try without an answer.
    let knowingly = after(|scenario| {
        twice(scenario);
        scenario.write(What::Post, "A title", Outcome::Unknown);
    });
    assert_eq!(knowingly, [""; 0]);
}

#[test]
fn what_nobody_wrote_is_found() {
    let in_the_store = after(|scenario| drop(scenario.history.posts.insert("x".to_owned(), "X".to_owned())));
    assert_eq!(in_the_store, [NOTHING_ELSE]);
    let in_the_log = after(|scenario| drop(scenario.writes.remove(0)));
    assert_eq!(in_the_log, [NOTHING_ELSE]);
}

#[test]
fn a_wrong_verdict_is_found() {
    let wrong = after(|scenario| {
        for event in
            scenario.history.log.iter_mut().filter(|e| e.text("id") == "c2" && e.kind != Some(CommentCreated))
        {
            event.data["status"] = json!("approved");
        }
    });
    assert_eq!(wrong, [VERDICT, PAGES, FOLDED]);
}

#[test]
fn an_event_of_an_unknown_type_is_found() {
    let unknown = after(|scenario| {
        let event = Logged { id: "other".to_owned(), kind: None, ..scenario.history.log[0].clone() };
        scenario.seen.streamed.push(event.id.clone());
        scenario.history.log.push(event);
        scenario.renumber();
    });
    assert_eq!(unknown, [ORDER]);
}

#[test]
fn a_second_verdict_is_found() {
    let twice = after(|scenario| {
        let event = Logged { id: "again".to_owned(), ..scenario.history.log[2].clone() };
        scenario.history.log.push(event);
        scenario.renumber();
    });
    assert_eq!(twice, [VERDICT, ORDER]);
}

#[test]
fn a_comment_that_is_still_pending_is_found() {
    let pending = after(|scenario| {
        scenario.history.log.truncate(scenario.history.log.len() - 2);
        scenario.renumber();
        scenario.history.comments.get_mut("p").unwrap()[1].1 = "pending".to_owned();
    });
    assert_eq!(pending, [VERDICT, PAGES, FOLDED]);
}

#[test]
fn a_broken_order_is_found() {
    let effect_first = after(|scenario| {
        scenario.history.log.swap(1, 2);
        scenario.renumber();
    });
    assert_eq!(effect_first, [ORDER, FOLDED]);
    let post_last = after(|scenario| {
        scenario.history.log.rotate_left(1);
        scenario.renumber();
    });
    assert_eq!(post_last, [ORDER, FOLDED]);
    let without_cause = after(|scenario| scenario.history.log[2].cause = Some("nothing".to_owned()));
    assert_eq!(without_cause, [ORDER]);
    let otherwise_taken = after(|scenario| scenario.history.comments.get_mut("p").unwrap().swap(0, 1));
    assert_eq!(otherwise_taken, [TAKEN]);
}

#[test]
fn what_was_shown_and_never_was_is_found() {
    let post = after(|scenario| scenario.seen.posts.extend([("x".to_owned(), "X".to_owned())]));
    assert_eq!(post, [PAGES]);
    let state = after(|scenario| {
        let (post, id, status) = ("p".to_owned(), "c2".to_owned(), "approved".to_owned());
        scenario.seen.comments.insert(SeenComment { post, id, status });
    });
    assert_eq!(state, [PAGES]);
    assert_eq!(after(|scenario| scenario.see_change(1, Some("c1"))), [CHANGES]);
    assert_eq!(after(|scenario| scenario.see_change(99, None)), [CHANGES]);
    assert_eq!(after(|scenario| scenario.seen.streamed.swap(0, 1)), [STREAM]);
    assert_eq!(after(|scenario| drop(scenario.seen.streamed.pop())), [STREAM]);
}

#[test]
fn a_read_model_that_differs_is_found() {
    let rebuilt = after(|scenario| scenario.history.rebuilt.push('\n'));
    assert_eq!(rebuilt, [REBUILT]);
    let both = after(|scenario| {
        scenario.history.read_model = scenario.history.read_model.replace("A title", "Another");
        scenario.history.rebuilt.clone_from(&scenario.history.read_model);
    });
    assert_eq!(both, [FOLDED]);
    assert_eq!(after(|scenario| scenario.history.read_model.push_str("[]\n")), [REBUILT, FOLDED]);
}

#[test]
fn a_dead_letter_is_found() {
    let parked =
        after(|scenario| drop(scenario.history.dead_letters.insert(Query, vec![json!({ "id": 1 })])));
    assert_eq!(parked, ["nothing was parked"]);
}

#[test]
fn a_leak_a_panic_and_an_end_are_found() {
    let held = |files, memory_kib| [(Query, Usage { files, memory_kib })].into();
    let machine = |files| Machine { before: held(10, 1), after: held(files, 1), ..Machine::default() };
    let failing = |machine: Machine| machine.checks().iter().filter(|check| !check.holds()).count();
    assert_eq!(failing(machine(10 + MOST_FILES)), 0);
    assert_eq!(failing(machine(11 + MOST_FILES)), 1);
    assert_eq!(failing(machine(0)), 1, "it does not run");
    let peaks = |kib| Machine { peaks: [(Query, kib)].into(), ..machine(10) };
    assert_eq!(failing(peaks(MOST_MEMORY_KIB)), 0);
    assert_eq!(failing(peaks(MOST_MEMORY_KIB + 1)), 1);
    let said = || vec!["something".to_owned()];
    assert_eq!(failing(Machine { panics: said(), ..machine(10) }), 1);
    assert_eq!(failing(Machine { ended: said(), ..machine(10) }), 1);
}

#[test]
fn much_that_is_wrong_is_said_in_few_words() {
    let mut check = Check::new("", "");
    (0..100).for_each(|n| check.wrong(|| n.to_string()));
    assert_eq!(check.wrong.len(), EXAMPLES + 1);
}
