//! Delivery to one subscriber: in order, at its own pace, for as long as it takes.

use crate::domain::{Outcome, Protocol, outcome};
use crate::log::{EventLog, Logged};
use crate::store::SavedSubscription;
use kit::messaging::signature::SigningKey;
use kit::runtime::backoff::Backoff;
use kit::runtime::deps::Deps;
use kit::runtime::transport::TransportError;
use shared::bus::SubscriptionView;
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use shared::{Sequence, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most events in one delivery.
const BATCH_EVENTS: usize = 512;
/// The most bytes in one delivery, unless one event alone is larger.
const BATCH_BYTES: usize = 1024 * 1024;

/// Where a subscriber stands, and what was last heard of it.
#[derive(Debug, Clone)]
struct State {
    url: String,
    cursor: Sequence,
    batch: bool,
    attempts: u32,
    next_retry: Option<Timestamp>,
    last_error: Option<String>,
    /// Held: the consumer has seen more than the log holds.
    lost_tail: bool,
    /// Counts registrations: the answer to a delivery that began before the last one says nothing any more.
    registration: u64,
    gone: bool,
}

/// One subscriber.
#[derive(Debug)]
pub struct Subscription {
    name: String,
    protocol: Protocol,
    key: Option<SigningKey>,
    state: Mutex<State>,
    changed: Notify,
}

impl Subscription {
    /// A subscriber that goes on from where it was saved.
    pub fn new(saved: SavedSubscription, protocol: Protocol, key: Option<SigningKey>) -> Self {
        let state = State {
            url: saved.url,
            cursor: saved.cursor,
            batch: saved.batch,
            attempts: 0,
            next_retry: None,
            last_error: None,
            lost_tail: false,
            registration: 0,
            gone: false,
        };
        Self { name: saved.name, protocol, key, state: Mutex::new(state), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The consumer registered (again): it is there, and goes on from its own cursor.
    pub fn register(&self, url: String, cursor: Sequence, batch: bool) {
        let mut state = self.lock();
        let alive_and_well =
            state.attempts == 0 && !state.lost_tail && state.url == url && state.batch == batch;
        if alive_and_well && state.cursor == cursor {
            return;
        }
        let registration = state.registration + 1;
        let (attempts, next_retry, last_error) = (0, None, None);
        *state = State {
            url,
            cursor,
            batch,
            attempts,
            next_retry,
            last_error,
            lost_tail: false,
            registration,
            gone: false,
        };
        drop(state);
        self.changed.notify_one();
    }

    /// Holds all deliveries: the consumer has seen more than the log holds.
    pub fn hold(&self, why: String) {
        let mut state = self.lock();
        state.lost_tail = true;
        state.registration += 1;
        state.last_error = Some(why);
    }

    /// What is to be saved of it.
    pub fn to_save(&self) -> SavedSubscription {
        let state = self.lock();
        SavedSubscription {
            name: self.name.clone(),
            url: state.url.clone(),
            cursor: state.cursor,
            batch: state.batch,
        }
    }

    /// A row of `GET /subscriptions`, but for the age of the first event that it has yet to acknowledge.
    pub fn view(&self, head: Sequence) -> SubscriptionView {
        let state = self.lock();
        SubscriptionView {
            name: self.name.clone(),
            url: state.url.clone(),
            cursor: state.cursor,
            // The log may have grown since its end was read.
            lag: (head.get() - state.cursor.get()).max(0),
            attempts: state.attempts,
            next_retry: state.next_retry,
            last_error: state.last_error.clone(),
            oldest_unacked_age_ms: 0,
            lost_tail: state.lost_tail,
        }
    }

    /// The last event that it has acknowledged.
    fn cursor(&self) -> Sequence {
        self.lock().cursor
    }

    /// Delivers until `stopping`, or until the consumer wants no more; says whether it does not.
    pub async fn deliver(
        self: Arc<Self>,
        log: Arc<dyn EventLog>,
        deps: Deps,
        stopping: CancellationToken,
    ) -> bool {
        let mut head = log.head();
        loop {
            let wait = self.deliver_some(log.as_ref(), &deps).await;
            if self.lock().gone {
                return true;
            }
            let pause = async {
                match wait {
                    Next::AtOnce => {}
                    Next::Idle => drop(head.wait_for(|head| *head > self.cursor()).await),
                    Next::Held => std::future::pending().await,
                    Next::After(wait) => tokio::time::sleep(wait).await,
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return false,
                () = self.changed.notified() => {}
                () = pause => {}
            }
        }
    }

    /// One delivery, if there is anything to deliver.
    async fn deliver_some(&self, log: &dyn EventLog, deps: &Deps) -> Next {
        let state = self.lock().clone();
        if state.lost_tail {
            return Next::Held;
        }
        let limit = if state.batch { BATCH_EVENTS } else { 1 };
        let events = match log.read(state.cursor, limit, BATCH_BYTES).await {
            Ok(events) => events,
            Err(error) => return self.failed(&state, deps, error.to_string(), Duration::ZERO),
        };
        let Some(last) = events.last().map(|event| event.sequence) else { return Next::Idle };
        let answer = self.send(&state, &events, deps).await;
        // The consumer registered meanwhile: what it says there is newer than this answer.
        if self.lock().registration != state.registration {
            return Next::AtOnce;
        }
        let outcome = outcome(self.protocol, &answer);
        if let Outcome::Rewind(cursor) = &outcome {
            tracing::info!(subscriber = self.name, from = last.get(), to = cursor.get(), "rewound");
        }
        match outcome {
            Outcome::Done => self.settled(&state, last),
            Outcome::Rewind(cursor) if cursor > *log.head().borrow() => {
                let why = format!("has seen {cursor}, and the log ends before: the log has lost its tail");
                tracing::error!(
                    subscriber = self.name,
                    error = why,
                    "delivering nothing until the log is restored"
                );
                self.hold(why);
                Next::Held
            }
            // A consumer that names the place it was just served from would be served it for ever, at once.
            Outcome::Rewind(cursor) if cursor == state.cursor => {
                self.failed(&state, deps, "asks again for what it was sent".to_owned(), Duration::ZERO)
            }
            Outcome::Rewind(cursor) => self.settled(&state, cursor),
            Outcome::Gone => {
                self.lock().gone = true;
                Next::AtOnce
            }
            Outcome::Wait(wait, error) => self.failed(&state, deps, error, wait),
            Outcome::Retry(error) => self.failed(&state, deps, error, Duration::ZERO),
        }
    }

    fn settled(&self, before: &State, cursor: Sequence) -> Next {
        kit::runtime::crash_points::reach("after-delivery");
        let mut state = self.lock();
        if state.registration == before.registration {
            if state.attempts > 0 {
                tracing::info!(subscriber = self.name, attempts = state.attempts, "delivering again");
            }
            state.cursor = cursor;
            state.attempts = 0;
            state.next_retry = None;
            state.last_error = None;
        }
        Next::AtOnce
    }

    fn failed(&self, before: &State, deps: &Deps, error: String, at_least: Duration) -> Next {
        let mut state = self.lock();
        if state.registration != before.registration {
            return Next::AtOnce;
        }
        state.attempts = state.attempts.saturating_add(1);
        let wait = Backoff::SERVICES.delay(state.attempts, deps.ids.random()).max(at_least);
        if state.attempts == 1 || state.attempts.is_power_of_two() {
            let (attempts, wait_ms) = (state.attempts, wait.as_millis() as u64);
            tracing::warn!(
                subscriber = self.name,
                error,
                attempts,
                wait_ms,
                "a delivery failed; trying again"
            );
        }
        state.last_error = Some(error);
        state.next_retry = Some(deps.clock.now().plus_ms(wait.as_millis() as i64));
        Next::After(wait)
    }

    async fn send(
        &self,
        state: &State,
        events: &[Logged],
        deps: &Deps,
    ) -> Result<http::Response<bytes::Bytes>, TransportError> {
        let (content_type, body) = match events {
            [one] if !state.batch => ("application/json", one.json.clone()),
            many => (CLOUDEVENTS_BATCH_JSON, array(many)),
        };
        let mut request = http::Request::post(&state.url).header(http::header::CONTENT_TYPE, content_type);
        if let Some(key) = &self.key {
            let id = format!("msg_{}", deps.ids.uuid().simple());
            for (name, value) in key.sign(&id, deps.clock.now(), body.as_bytes()) {
                request = request.header(name, value);
            }
        }
        let request = request.body(body.into()).map_err(|e| TransportError::Other(e.to_string()))?;
        deps.transport.send(request).await
    }
}

/// When the next delivery is due.
enum Next {
    AtOnce,
    /// When the log grows.
    Idle,
    /// When the consumer registers again.
    Held,
    After(Duration),
}

/// A JSON array of events.
pub fn array(events: &[Logged]) -> String {
    let mut body = String::with_capacity(events.iter().map(|e| e.json.len() + 1).sum::<usize>() + 2);
    body.push('[');
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        body.push_str(&event.json);
    }
    body.push(']');
    body
}
