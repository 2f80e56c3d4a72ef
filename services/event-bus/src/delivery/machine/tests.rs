use super::*;
use proptest::prelude::*;

/// Gives the longest wait that the backoff allows, below its cap: it is one less than a multiple of every ceiling.
const LONGEST: u128 = 1_280_000 - 1;

fn now() -> Timestamp {
    Timestamp::from_unix_ms(1_000_000)
}

fn at() -> Moment {
    Moment { now: now(), random: LONGEST }
}

fn seq(n: i64) -> Sequence {
    Sequence::new(n)
}

fn urgent(last: i64) -> Page {
    Page { last: seq(last), may_wait: false }
}

/// A delivery, with what it does now.
struct Machine {
    state: State,
    actions: Vec<Action>,
}

impl Machine {
    fn begin(cursor: i64, head: i64) -> Self {
        let (state, actions) = State::begin("http://one".into(), seq(cursor), true, seq(head));
        Self { state, actions }
    }

    fn input(&mut self, input: Input) -> &[Action] {
        let (state, actions) = step(self.state.clone(), input);
        (self.state, self.actions) = (state, actions);
        &self.actions
    }

    fn reads(&mut self, last: Option<i64>) -> &[Action] {
        self.input(Input::Read(Ok(last.map(urgent)), at()))
    }

    fn reads_what_may_wait(&mut self, last: i64) -> &[Action] {
        self.input(Input::Read(Ok(Some(Page { last: seq(last), may_wait: true })), at()))
    }

    fn hears(&mut self, outcome: Outcome) -> &[Action] {
        self.input(Input::Answered { outcome, head: seq(9), at: at() })
    }

    fn registers(&mut self, cursor: i64, started: bool) -> &[Action] {
        let (url, batch) = (self.state.url.clone(), self.state.batch);
        self.input(Input::Registered(Registration { url, cursor: seq(cursor), batch, started }))
    }

    /// One whose first delivery, of the events up to 5, failed this often.
    fn failing(times: usize) -> Self {
        let mut machine = Self::begin(0, 9);
        for _ in 0..times {
            machine.reads(Some(5));
            machine.hears(Outcome::Retry("no".into()));
            machine.input(Input::TimerFired);
        }
        machine
    }

    fn waits(&self) -> Option<Duration> {
        self.actions.iter().find_map(|a| if let Action::Sleep(wait) = a { Some(*wait) } else { None })
    }
}

fn read(after: i64) -> Action {
    Action::Read { after: seq(after), limit: BATCH_EVENTS }
}

fn sent() -> Action {
    Action::Send { url: "http://one".into(), batch: true }
}

#[test]
fn it_reads_sends_and_goes_on_until_the_end_of_the_log() {
    let mut machine = Machine::begin(3, 9);
    assert_eq!(machine.actions, [read(3)]);
    assert_eq!(machine.reads(Some(7)), [sent()]);
    assert_eq!(machine.state.cursor, seq(3), "not before it is acknowledged");
    assert_eq!(machine.hears(Outcome::Done), [read(7)]);
    assert_eq!(machine.reads(None), [Action::AwaitGrowth { beyond: seq(7) }]);
    assert_eq!(machine.input(Input::LogGrew), [read(7)]);
    assert_eq!(machine.input(Input::Stop), [Action::End]);
    assert_eq!(machine.registers(0, true), [], "it has ended");
}

#[test]
fn what_does_not_concern_it_waits_for_more_and_not_for_ever() {
    let mut machine = Machine::begin(0, 2);
    assert_eq!(machine.reads_what_may_wait(2), [sent()], "it has just registered, and catches up");
    assert_eq!(machine.hears(Outcome::Done), [read(2)]);
    let gather = |beyond| Action::Gather { beyond: seq(beyond), wait: GATHERING };
    assert_eq!(machine.reads_what_may_wait(3), [gather(3)]);
    assert_eq!(machine.registers(2, false), [], "a heartbeat");
    assert_eq!(machine.input(Input::LogGrew), [read(2)], "from the cursor: nothing is left out");
    assert_eq!(machine.reads(Some(4)), [sent()], "this one does not wait");
    assert_eq!(machine.hears(Outcome::Done), [read(4)]);

    assert_eq!(machine.reads_what_may_wait(5), [gather(5)]);
    assert_eq!(machine.input(Input::TimerFired), [read(4)]);
    assert_eq!(machine.reads_what_may_wait(5), [sent()], "nothing came");
    assert_eq!(machine.hears(Outcome::Done), [read(5)]);

    for last in 6..6 + i64::from(MOST_WAITS) {
        assert_eq!(machine.reads_what_may_wait(last), [gather(last)]);
        assert_eq!(machine.input(Input::LogGrew), [read(5)]);
    }
    assert_eq!(machine.reads_what_may_wait(20), [sent()], "more came each time");
    assert_eq!(machine.hears(Outcome::Done), [read(20)]);

    assert_eq!(machine.reads_what_may_wait(21), [gather(21)]);
    assert_eq!(machine.registers(1, false), [read(1)], "it has lost its store");
    assert_eq!(machine.input(Input::TimerFired), [], "the timer of before");
    assert_eq!(machine.reads_what_may_wait(21), [sent()]);
}

#[test]
fn one_event_at_a_time_for_who_asked_for_it() {
    let (_, actions) = State::begin("http://one".into(), seq(0), false, seq(9));
    assert_eq!(actions, [Action::Read { after: seq(0), limit: 1 }]);
}

#[test]
fn the_backoff_grows_to_its_cap_and_ends_with_success() {
    let mut machine = Machine::begin(0, 9);
    let mut waits = vec![];
    for attempts in 1..=12 {
        machine.reads(Some(5));
        machine.hears(Outcome::Retry("no".into()));
        let wait = machine.waits().unwrap();
        assert_eq!(machine.state.attempts, attempts);
        assert_eq!(machine.state.next_retry, Some(now().plus_ms(wait.as_millis() as i64)));
        assert_eq!(machine.state.last_error.as_deref(), Some("no"));
        waits.push(wait.as_millis());
        assert_eq!(machine.input(Input::TimerFired), [read(0)]);
    }
    assert_eq!(waits[..8], [50, 100, 200, 400, 800, 1_600, 3_200, 6_400]);
    assert!(waits[8..].iter().all(|wait| *wait == 10_000), "{waits:?}");
    machine.reads(Some(5));
    assert_eq!(machine.hears(Outcome::Done), [Action::Note(Note::Recovered { attempts: 12 }), read(5)]);
    assert_eq!((machine.state.attempts, machine.state.next_retry, machine.state.last_error), (0, None, None));
}

#[test]
fn a_log_that_cannot_be_read_is_a_failure_like_any_other() {
    let mut machine = Machine::begin(0, 9);
    machine.input(Input::Read(Err("the disk".into()), at()));
    assert_eq!(machine.waits(), Some(Duration::from_millis(50)));
    assert_eq!(machine.state.last_error.as_deref(), Some("the disk"));
}

#[test]
fn retry_after_is_honoured_and_capped() {
    for (asked, waits) in
        [(0, 50), (1_000, 1_000), (120_000, 120_000), (300_000, 300_000), (31_536_000_000, 300_000)]
    {
        let mut machine = Machine::begin(0, 9);
        machine.reads(Some(5));
        machine.hears(Outcome::Wait(Duration::from_millis(asked), "later".into()));
        assert_eq!(machine.waits(), Some(Duration::from_millis(waits)), "{asked}");
    }
}

#[test]
fn a_heartbeat_does_not_end_the_backoff_and_a_start_does() {
    let mut machine = Machine::failing(3);
    machine.reads(Some(5));
    machine.hears(Outcome::Wait(Duration::from_secs(60), "later".into()));
    let waiting = machine.state.clone();
    assert_eq!(machine.registers(0, false), []);
    assert_eq!(machine.state, waiting);
    assert_eq!(machine.registers(0, true), [read(0)]);
    assert_eq!((machine.state.attempts, machine.state.next_retry), (0, None));
    assert_eq!(machine.input(Input::TimerFired), [], "the timer of before");

    // Another address, another cursor: the consumer is not the one that failed.
    let elsewhere = |cursor, url: &str| {
        let (url, batch, started) = (url.to_owned(), true, false);
        Input::Registered(Registration { url, cursor: seq(cursor), batch, started })
    };
    for input in [elsewhere(0, "http://two"), elsewhere(2, "http://one")] {
        let mut machine = Machine { state: waiting.clone(), actions: vec![] };
        assert!(matches!(machine.input(input)[..], [Action::Read { .. }]));
        assert_eq!(machine.state.attempts, 0);
    }
}

#[test]
fn a_consumer_that_names_its_cursor_is_served_from_there() {
    for to in [0, 2, 4, 9] {
        let mut machine = Machine::begin(3, 9);
        machine.reads(Some(7));
        let note = Action::Note(Note::Rewound { from: seq(7), to: seq(to) });
        assert_eq!(machine.hears(Outcome::Rewind(seq(to))), [note, read(to)]);
        assert_eq!(machine.state.attempts, 0);
    }
    let mut machine = Machine::begin(3, 9);
    machine.reads(Some(7));
    machine.hears(Outcome::Rewind(seq(3)));
    assert_eq!(
        machine.waits(),
        Some(Duration::from_millis(50)),
        "else it would be sent the same at once, forever"
    );
}

#[test]
fn a_lost_tail_holds_everything_until_a_registration_that_fits() {
    let held =
        |machine: &Machine| machine.state.lost_tail && machine.actions.last() == Some(&Action::Suspend);
    let at_start = Machine::begin(10, 9);
    let mut by_answer = Machine::begin(3, 9);
    by_answer.reads(Some(7));
    by_answer.hears(Outcome::Rewind(seq(10)));
    let mut by_registration = Machine::begin(9, 9);
    by_registration.reads(None);
    by_registration.input(Input::LostTail("lost".into()));
    for mut machine in [at_start, by_answer, by_registration] {
        assert!(held(&machine), "{:?}", machine.actions);
        for late in [Input::LogGrew, Input::TimerFired] {
            assert_eq!(machine.input(late), []);
        }
        assert_eq!(machine.registers(1, false), [read(1)]);
        assert!(!machine.state.lost_tail && machine.state.last_error.is_none());
    }
}

#[test]
fn what_arrives_during_an_exchange_waits_for_its_end_and_voids_its_result() {
    let outcomes = [
        Outcome::Done,
        Outcome::Retry("no".into()),
        Outcome::Gone,
        Outcome::Rewind(seq(99)),
        Outcome::Rewind(seq(2)),
    ];
    for outcome in outcomes {
        let mut machine = Machine::begin(0, 9);
        machine.reads(Some(5));
        assert_eq!(machine.registers(1, false), [], "one exchange at a time");
        assert_eq!(machine.hears(outcome.clone()), [read(1)]);
        assert_eq!((machine.state.cursor, machine.state.attempts), (seq(1), 0));

        machine.reads(Some(5));
        assert_eq!(machine.input(Input::LostTail("lost".into())), []);
        assert_eq!(machine.hears(outcome), [Action::Suspend]);
    }
    let mut machine = Machine::begin(0, 9);
    machine.registers(4, false);
    assert_eq!(machine.reads(Some(5)), [read(4)], "what was read is not what is due");
}

#[test]
fn who_wants_no_more_is_unsubscribed() {
    let mut machine = Machine::begin(0, 9);
    machine.reads(Some(5));
    assert_eq!(machine.hears(Outcome::Gone), [Action::Unsubscribe]);
    assert_eq!(machine.registers(0, true), []);
}

/// What happens to a delivery, apart from the log.
#[derive(Debug, Clone)]
enum Event {
    Answer(Outcome),
    Unreadable,
    Heartbeat,
    Start,
    StoreLost(i64),
    Grow(i64),
    Timer,
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Done),
        2 => Just(Outcome::Retry("no".into())),
        1 => (0_u64..1_000).prop_map(|s| Outcome::Wait(Duration::from_secs(s), "later".into())),
        1 => (0_i64..40).prop_map(|n| Outcome::Rewind(seq(n))),
    ];
    prop_oneof![
        6 => outcome.prop_map(Event::Answer),
        1 => Just(Event::Unreadable),
        2 => Just(Event::Heartbeat),
        1 => Just(Event::Start),
        1 => (0_i64..40).prop_map(Event::StoreLost),
        2 => (1_i64..6).prop_map(Event::Grow),
        3 => Just(Event::Timer),
    ]
}

proptest! {
    /// Whatever happens: each delivery begins right after the cursor, the cursor moves only to what was acknowledged or
    /// named by the consumer, waits are within their bounds, a heartbeat changes nothing, and it never gets stuck.
    #[test]
    fn nothing_is_skipped_and_nothing_stops(events in prop::collection::vec(event(), 1..200), random: u128, size in 1_i64..8, may_wait: bool) {
        let at = Moment { now: now(), random };
        let mut head = 10;
        let (mut state, mut actions) = State::begin("http://one".into(), seq(0), true, seq(head));
        // What the driver does now, and what was read last.
        let (mut doing, mut sending) = (Action::Suspend, None);
        for event in events {
            for action in actions.drain(..) {
                if let Action::Sleep(wait) = &action {
                    prop_assert!(*wait >= Duration::from_millis(1) && *wait <= LONGEST_RETRY_AFTER);
                }
                if !matches!(action, Action::Note(_)) {
                    doing = action;
                }
            }
            let before = state.clone();
            let register = |cursor, started| {
                let (url, batch) = (before.url.clone(), before.batch);
                Input::Registered(Registration { url, cursor, batch, started })
            };
            let mut may_be_at = vec![before.cursor];
            let input = match (&event, &doing) {
                (Event::Heartbeat, _) => register(before.cursor, false),
                (Event::Start, _) => register(before.cursor, true),
                (Event::StoreLost(cursor), _) => {
                    let cursor = seq((*cursor).min(head));
                    may_be_at.push(cursor);
                    register(cursor, false)
                }
                (Event::Grow(by), _) => {
                    head += by;
                    let awaited = matches!(doing, Action::AwaitGrowth { .. } | Action::Gather { .. });
                    if awaited { Input::LogGrew } else { Input::TimerFired }
                }
                (Event::Unreadable, Action::Read { .. }) => Input::Read(Err("the disk".into()), at),
                (_, Action::Read { after, .. }) => {
                    let last = (after.get() + size).min(head);
                    sending = (last > after.get()).then_some((*after, last));
                    Input::Read(Ok(sending.map(|(_, last)| Page { last: seq(last), may_wait })), at)
                }
                (Event::Answer(outcome), Action::Send { .. }) => {
                    let (after, last) = sending.unwrap();
                    if !before.superseded {
                        prop_assert_eq!(after, before.cursor, "it begins right after the cursor");
                    }
                    may_be_at.extend(match outcome {
                        Outcome::Done => Some(seq(last)),
                        Outcome::Rewind(cursor) => Some(*cursor),
                        _ => None,
                    });
                    Input::Answered { outcome: outcome.clone(), head: seq(head), at }
                }
                (_, Action::Sleep(_) | Action::Gather { .. }) => Input::TimerFired,
                _ => Input::LogGrew,
            };
            (state, actions) = step(state, input);
            prop_assert!(may_be_at.contains(&state.cursor));
            prop_assert!(state.cursor <= seq(head) || state.lost_tail);
            if matches!(event, Event::Heartbeat) && !before.lost_tail {
                prop_assert_eq!(&state, &before);
            }
        }
        // From here on all is well: it comes to the end of the log.
        let cursor = state.cursor.min(seq(head));
        let start = Registration { url: state.url.clone(), cursor, batch: true, started: true };
        let (next, more) = step(state, Input::Registered(start));
        state = next;
        for action in actions.into_iter().chain(more) {
            if !matches!(action, Action::Note(_)) {
                doing = action;
            }
        }
        for _ in 0..6 * head {
            let input = match &doing {
                Action::Read { after, .. } => {
                    let last = (after.get() + size).min(head);
                    sending = (last > after.get()).then_some((*after, last));
                    Input::Read(Ok(sending.map(|(_, last)| Page { last: seq(last), may_wait })), at)
                }
                Action::Send { .. } => Input::Answered { outcome: Outcome::Done, head: seq(head), at },
                Action::Sleep(_) | Action::Gather { .. } => Input::TimerFired,
                Action::AwaitGrowth { beyond } if *beyond < seq(head) => Input::LogGrew,
                _ => break,
            };
            let (next, actions) = step(state, input);
            state = next;
            for action in actions {
                if !matches!(action, Action::Note(_)) {
                    doing = action;
                }
            }
        }
        prop_assert_eq!(state.cursor, seq(head));
        prop_assert_eq!((state.attempts, state.last_error, state.lost_tail), (0, None, false));
    }
}
