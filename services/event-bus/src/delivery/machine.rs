//! The delivery to one subscriber as a state machine. Pure: events and answers, the time and the randomness come in as
//! inputs; reads, requests and waits go out as actions. The driver (`super`) performs them.
//!
//! | in | on | it goes to | with |
//! |---|---|---|---|
//! | `Reading` | events that concern the subscriber, or many | `Sending` | `Send` |
//! | `Reading` | a few events at the end that do not concern it | `Gathering` | `Gather` |
//! | `Reading` | no events | `CaughtUp` | `AwaitGrowth` |
//! | `Reading` | an error | `BackingOff` | `Sleep` |
//! | `Gathering` | the log grew, or the timer | `Reading` | `Read` |
//! | `CaughtUp` | the log grew | `Reading` | `Read` |
//! | `Sending` | acknowledged, or rewound | `Reading` | `Read` |
//! | `Sending` | failed | `BackingOff` | `Sleep` |
//! | `Sending` | 410 | `Ended` | `Unsubscribe` |
//! | `BackingOff` | the timer | `Reading` | `Read` |
//! | any | a registration | `Reading` | `Read` |
//! | any | a lost tail | `Suspended` | `Suspend` |
//! | any | the stop | `Ended` | `End` |
//!
//! One operation (a read of the log, or a request) runs at a time. A registration or a lost tail that arrives meanwhile
//! takes effect when the operation ends, and its result then no longer counts. A heartbeat (a registration that says
//! nothing new) changes nothing.

use super::answer::Outcome;
use kit::runtime::backoff::Backoff;
use kit::runtime::transport::LONGEST_RETRY_AFTER;
use shared::{Sequence, Timestamp};
use std::time::Duration;

/// The most events in one delivery.
pub const BATCH_EVENTS: usize = 4_096;
/// How long events that do not concern the subscriber wait for the next event.
const GATHERING: Duration = Duration::from_millis(20);
/// How often, at most, until they are delivered all the same.
const MOST_WAITS: u8 = 10;

/// The state of one subscriber's delivery task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub url: String,
    /// The last event that the subscriber has acknowledged.
    pub cursor: Sequence,
    /// Whether one request may hold many events.
    pub batch: bool,
    /// Failures in a row of the present delivery.
    pub attempts: u32,
    pub next_retry: Option<Timestamp>,
    pub last_error: Option<String>,
    /// The consumer has applied what the log does not hold: nothing is delivered until it registers with a cursor that
    /// the log holds.
    pub lost_tail: bool,
    phase: Phase,
    /// A registration or a lost tail arrived during the operation: ignore its result.
    superseded: bool,
    /// How often the events after the cursor have waited for more.
    waits: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// Events up to `last` are on their way.
    Sending {
        last: Sequence,
    },
    /// Waits until the log grows.
    CaughtUp,
    /// What was read waits for more.
    Gathering,
    /// Waits for the timer.
    BackingOff,
    /// Waits for a registration.
    Suspended,
    Ended,
}

/// What a consumer tells of itself when it registers. The log holds the event at `cursor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub url: String,
    pub cursor: Sequence,
    pub batch: bool,
    /// Whether the consumer has just started, as opposed to a heartbeat.
    pub started: bool,
}

/// When an operation ended, and the randomness for the jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub now: Timestamp,
    pub random: u128,
}

/// Events that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The sequence of the last of them.
    pub last: Sequence,
    /// Whether they may wait for more: few events at the end of the log, none of which concerns the subscriber.
    pub may_wait: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Registered(Registration),
    /// The consumer has registered with a cursor that the log does not hold; the text says so.
    LostTail(String),
    /// The log was read: the events found, `None` at its end, or why it cannot be read.
    Read(Result<Option<Page>, String>, Moment),
    /// The delivery ended; `head` is the end of the log.
    Answered {
        outcome: Outcome,
        head: Sequence,
        at: Moment,
    },
    LogGrew,
    TimerFired,
    Stop,
}

/// What the driver has to do. Each action except [`Action::Note`] cancels the one still under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Read {
        after: Sequence,
        limit: usize,
    },
    /// Send the events that were just read.
    Send {
        url: String,
        batch: bool,
    },
    /// Report [`Input::LogGrew`] once the log holds an event beyond this one.
    AwaitGrowth {
        beyond: Sequence,
    },
    /// Report [`Input::LogGrew`] once the log holds an event beyond this one, or [`Input::TimerFired`] after this long.
    Gather {
        beyond: Sequence,
        wait: Duration,
    },
    /// Report [`Input::TimerFired`] after this long.
    Sleep(Duration),
    /// Do nothing until the next registration.
    Suspend,
    /// The subscriber wants no more events.
    Unsubscribe,
    End,
    Note(Note),
}

/// A line for the program's log output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    Failed { error: String, attempts: u32, wait: Duration },
    Recovered { attempts: u32 },
    Rewound { from: Sequence, to: Sequence },
    LostTail(String),
}

/// The state after an input, and what to do now.
pub fn step(mut state: State, input: Input) -> (State, Vec<Action>) {
    let actions = state.accept(input);
    (state, actions)
}

impl State {
    /// The beginning: a subscriber that continues after `cursor` in a log that ends at `head`.
    pub fn begin(url: String, cursor: Sequence, batch: bool, head: Sequence) -> (Self, Vec<Action>) {
        let mut state = Self {
            url,
            cursor,
            batch,
            attempts: 0,
            next_retry: None,
            last_error: None,
            lost_tail: false,
            phase: Phase::Suspended,
            superseded: false,
            // A subscriber that catches up must not wait for the last step.
            waits: MOST_WAITS,
        };
        let actions = if cursor > head { state.loses_tail(cursor, head) } else { state.resume() };
        (state, actions)
    }

    fn accept(&mut self, input: Input) -> Vec<Action> {
        match (self.phase, input) {
            (Phase::Ended, _) => vec![],
            (_, Input::Stop) => {
                self.phase = Phase::Ended;
                vec![Action::End]
            }
            (_, Input::Registered(registration)) => self.register(registration),
            (_, Input::LostTail(why)) => self.suspend(why),
            (Phase::Reading, Input::Read(..)) | (Phase::Sending { .. }, Input::Answered { .. })
                if self.superseded =>
            {
                self.resume()
            }
            (Phase::Reading, Input::Read(Ok(Some(page)), _)) if page.may_wait && self.waits < MOST_WAITS => {
                self.waits += 1;
                self.phase = Phase::Gathering;
                vec![Action::Gather { beyond: page.last, wait: GATHERING }]
            }
            (Phase::Reading, Input::Read(Ok(Some(Page { last, .. })), _)) => {
                self.phase = Phase::Sending { last };
                vec![Action::Send { url: self.url.clone(), batch: self.batch }]
            }
            (Phase::Reading, Input::Read(Ok(None), _)) => {
                self.phase = Phase::CaughtUp;
                vec![Action::AwaitGrowth { beyond: self.cursor }]
            }
            (Phase::Reading, Input::Read(Err(error), at)) => self.fail(error, Duration::ZERO, at),
            (Phase::Sending { last }, Input::Answered { outcome, head, at }) => {
                self.answered(outcome, last, head, at)
            }
            (Phase::Gathering, Input::TimerFired) => {
                self.waits = MOST_WAITS;
                self.resume()
            }
            (Phase::CaughtUp | Phase::Gathering, Input::LogGrew) | (Phase::BackingOff, Input::TimerFired) => {
                self.resume()
            }
            // A wake-up that arrives after a registration has already ended the wait.
            _ => vec![],
        }
    }

    fn register(&mut self, new: Registration) -> Vec<Action> {
        let Registration { url, cursor, batch, started } = new;
        let is_known = self.url == url && self.cursor == cursor && self.batch == batch && !self.lost_tail;
        // A heartbeat must not end the backoff: the consumer may be alive and still refuse every delivery.
        if is_known && !(started && self.attempts > 0) {
            return vec![];
        }
        (self.url, self.cursor, self.batch) = (url, cursor, batch);
        self.waits = MOST_WAITS;
        self.succeeded();
        self.lost_tail = false;
        self.interrupt()
    }

    fn suspend(&mut self, why: String) -> Vec<Action> {
        self.lost_tail = true;
        self.last_error = Some(why);
        self.next_retry = None;
        self.interrupt()
    }

    fn loses_tail(&mut self, cursor: Sequence, head: Sequence) -> Vec<Action> {
        let why = format!("has applied {cursor}, and the log ends at {head}: the log has lost its tail");
        let note = Action::Note(Note::LostTail(why.clone()));
        let mut actions = vec![note];
        self.phase = Phase::Suspended;
        actions.extend(self.suspend(why));
        actions
    }

    /// Starts again from what the state now says: at once, or when the operation under way has ended.
    fn interrupt(&mut self) -> Vec<Action> {
        if matches!(self.phase, Phase::Reading | Phase::Sending { .. }) {
            self.superseded = true;
            return vec![];
        }
        self.resume()
    }

    fn resume(&mut self) -> Vec<Action> {
        self.superseded = false;
        if self.lost_tail {
            self.phase = Phase::Suspended;
            return vec![Action::Suspend];
        }
        self.phase = Phase::Reading;
        vec![Action::Read { after: self.cursor, limit: if self.batch { BATCH_EVENTS } else { 1 } }]
    }

    fn answered(&mut self, outcome: Outcome, last: Sequence, head: Sequence, at: Moment) -> Vec<Action> {
        match outcome {
            Outcome::Done => self.settle(last),
            Outcome::Rewind(cursor) if cursor > head => self.loses_tail(cursor, head),
            // A consumer that names the cursor it was just served from would be served it forever, without a pause.
            Outcome::Rewind(cursor) if cursor == self.cursor => {
                self.fail("asks again for what it was sent".to_owned(), Duration::ZERO, at)
            }
            Outcome::Rewind(cursor) => {
                let mut actions = vec![Action::Note(Note::Rewound { from: last, to: cursor })];
                actions.extend(self.settle(cursor));
                actions
            }
            Outcome::Gone => {
                self.phase = Phase::Ended;
                vec![Action::Unsubscribe]
            }
            Outcome::Wait(wait, error) => self.fail(error, wait.min(LONGEST_RETRY_AFTER), at),
            Outcome::Retry(error) => self.fail(error, Duration::ZERO, at),
        }
    }

    fn settle(&mut self, cursor: Sequence) -> Vec<Action> {
        let mut actions = vec![];
        if self.attempts > 0 {
            actions.push(Action::Note(Note::Recovered { attempts: self.attempts }));
        }
        self.cursor = cursor;
        self.waits = 0;
        self.succeeded();
        actions.extend(self.resume());
        actions
    }

    fn succeeded(&mut self) {
        self.attempts = 0;
        self.next_retry = None;
        self.last_error = None;
    }

    fn fail(&mut self, error: String, at_least: Duration, at: Moment) -> Vec<Action> {
        self.attempts = self.attempts.saturating_add(1);
        let wait = Backoff::SERVICES.delay(self.attempts, at.random).max(at_least);
        self.next_retry = Some(at.now.plus_ms(wait.as_millis() as i64));
        self.last_error = Some(error.clone());
        self.phase = Phase::BackingOff;
        vec![Action::Note(Note::Failed { error, attempts: self.attempts, wait }), Action::Sleep(wait)]
    }
}

#[cfg(test)]
mod tests;
