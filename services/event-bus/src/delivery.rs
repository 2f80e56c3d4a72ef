//! Delivery to one subscriber: in order, at its own pace, for as long as it takes. The decisions are in [`machine`];
//! this is the driver that reads the log, sends and waits.

pub mod answer;
pub mod machine;

use crate::log::{EventLog, Logged};
use crate::store::{Progress, SavedSubscription};
use answer::{Outcome, Protocol, outcome};
use futures_util::future::{BoxFuture, FutureExt, join, pending, ready};
use kit::messaging::signature::SigningKey;
use kit::messaging::trace;
use kit::runtime::deps::Deps;
use kit::runtime::trace::{TRACEPARENT, TraceContext};
use kit::runtime::transport::TransportError;
use machine::{Action, BATCH_EVENTS, Input, Moment, Note, Page, Registration, State, step};
use shared::bus::{SubscriptionView, subscription_parts};
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use shared::{EventType, Sequence, ServiceName, Timestamp};
use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The most bytes in one delivery, unless one event alone is larger.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How many events may wait for more.
const FEW: usize = 64;
/// A subscriber that is sent so many events at once has more to come.
const MANY: usize = 256;

/// One subscriber, as the rest of the bus sees it.
#[derive(Debug)]
pub struct Subscription {
    name: String,
    protocol: Protocol,
    state: Mutex<State>,
    /// When it registered last, in milliseconds.
    seen_at: AtomicI64,
    /// The last registration of which another replica has told.
    registration: AtomicI64,
    /// Actions for the delivery task that an input from outside (a registration, a lost tail) caused. Unbounded but
    /// short: such an input has actions only while the task waits, and a waiting task receives at once.
    actions: mpsc::UnboundedSender<Vec<Action>>,
}

impl Subscription {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the consumer exists, whatever becomes of its registration.
    pub fn seen(&self, now: Timestamp) {
        self.seen_at.fetch_max(now.unix_ms(), Ordering::Relaxed);
    }

    /// Takes over what a replica has noted that does not deliver: each registration once.
    pub fn take_over(&self, noted: &SavedSubscription) {
        self.seen(noted.seen_at);
        if self.registration.swap(noted.registration, Ordering::Relaxed) == noted.registration {
            return;
        }
        let SavedSubscription { url, cursor, batch, started, lost_tail, .. } = noted.clone();
        self.notify(match lost_tail {
            Some(why) => Input::LostTail(why),
            None => Input::Registered(Registration { url, cursor, batch, started }),
        });
    }

    /// Whether this is one instance of a service, which may come and go.
    pub fn is_instance(&self) -> bool {
        self.protocol == Protocol::Native && subscription_parts(&self.name).1.is_some()
    }

    /// Tells the delivery of a registration, or of a lost tail; the state changes before this returns.
    pub fn notify(&self, input: Input) {
        let mut state = self.lock();
        let actions = advance(&mut state, input);
        if !actions.is_empty() {
            // Nobody receives where the delivery has ended.
            let _ = self.actions.send(actions);
        }
    }

    pub fn to_save(&self) -> SavedSubscription {
        let state = self.lock();
        SavedSubscription {
            name: self.name.clone(),
            url: state.url.clone(),
            cursor: state.cursor,
            batch: state.batch,
            seen_at: Timestamp::from_unix_ms(self.seen_at.load(Ordering::Relaxed)),
            registration: self.registration.load(Ordering::Relaxed),
            started: false,
            lost_tail: state.last_error.clone().filter(|_| state.lost_tail),
            progress: Progress {
                attempts: state.attempts,
                next_retry: state.next_retry,
                // A subscriber may answer with any bytes; PostgreSQL has no text with a NUL.
                last_error: state.last_error.as_ref().map(|error| error.replace('\0', "\u{FFFD}")),
            },
        }
    }

    /// A row of `GET /subscriptions`, except the age of the oldest event that is not acknowledged.
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
}

fn advance(state: &mut State, input: Input) -> Vec<Action> {
    let (next, actions) = step(state.clone(), input);
    *state = next;
    actions
}

/// How a delivery task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Stopped,
    /// The subscriber answered that it wants no more events.
    Unsubscribed,
}

/// The task that delivers to one subscriber.
pub struct DeliveryTask {
    subscription: Arc<Subscription>,
    protocol: Protocol,
    /// The service that subscribes, if it is one of this system.
    service: Option<ServiceName>,
    /// Signs what is sent; `None` for a subscriber without a secret.
    key: Option<SigningKey>,
    log: Arc<dyn EventLog>,
    deps: Deps,
    actions: mpsc::UnboundedReceiver<Vec<Action>>,
    /// Where the subscriber had everything that was in the log. Only what was appended since then is taken from memory;
    /// what is older is read from the disk, and checked.
    caught_up: Option<Sequence>,
}

impl std::fmt::Debug for DeliveryTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeliveryTask({})", self.subscription.name)
    }
}

/// A future that resolves to the next input, with the events if it was a read, or if it has read ahead.
type Effect = BoxFuture<'static, (Input, Vec<Logged>)>;

impl DeliveryTask {
    /// A subscriber that continues from where it was saved, and the task that serves it.
    pub fn new(
        saved: SavedSubscription,
        protocol: Protocol,
        key: Option<SigningKey>,
        log: Arc<dyn EventLog>,
        deps: Deps,
    ) -> (Arc<Subscription>, Self) {
        let head = *log.head().borrow();
        let service = service_of(&saved.name, protocol);
        let seen_at = saved.seen_at.unix_ms().into();
        let registration = saved.registration.into();
        let (mut state, mut first) = State::begin(saved.url, saved.cursor, saved.batch, head);
        if let Some(why) = saved.lost_tail {
            first.extend(advance(&mut state, Input::LostTail(why)));
        }
        let (sender, actions) = mpsc::unbounded_channel();
        // Its receiver is right here.
        let _ = sender.send(first);
        let state = Mutex::new(state);
        let subscription = Arc::new(Subscription {
            name: saved.name,
            protocol,
            state,
            seen_at,
            registration,
            actions: sender,
        });
        (
            Arc::clone(&subscription),
            Self { subscription, protocol, service, key, log, deps, actions, caught_up: None },
        )
    }

    /// Delivers until `stopping`, or until the subscriber wants no more.
    pub async fn run(mut self, stopping: CancellationToken) -> Ended {
        let mut effect: Effect = pending().boxed();
        let mut page = Vec::new();
        loop {
            let input = tokio::select! {
                biased;
                () = stopping.cancelled() => Input::Stop,
                Some(actions) = self.actions.recv() => {
                    match self.perform(actions, &mut page) {
                        Next::Effect(next) => effect = next,
                        Next::Keep => {}
                        Next::End(ended) => return ended,
                    }
                    continue;
                }
                (input, events) = &mut effect => {
                    page = events;
                    effect = pending().boxed();
                    input
                }
            };
            if matches!(&input, Input::Answered { outcome: Outcome::Done | Outcome::Rewind(_), .. }) {
                kit::runtime::crash_points::reach("after-delivery");
            }
            let actions = advance(&mut self.subscription.lock(), input);
            match self.perform(actions, &mut page) {
                Next::Effect(next) => effect = next,
                Next::Keep => {}
                Next::End(ended) => return ended,
            }
        }
    }

    /// `page` holds the events that were read last: those to be sent, or those after the ones that were sent.
    fn perform(&mut self, actions: Vec<Action>, page: &mut Vec<Logged>) -> Next {
        let mut next = Next::Keep;
        for action in actions {
            let effect = match action {
                Action::Note(note) => {
                    log_note(&self.subscription.name, note);
                    continue;
                }
                Action::Read { after, limit } if follows(page, after) && page.len() <= limit => {
                    ready(self.was_read()(std::mem::take(page))).boxed()
                }
                Action::Read { after, limit } => self.read(after, limit),
                Action::Send { url, batch } => self.send(&url, batch, page),
                Action::AwaitGrowth { beyond } => {
                    self.caught_up = Some(beyond);
                    self.await_growth(beyond)
                }
                Action::Gather { beyond, wait } => self.gather(beyond, wait),
                Action::Sleep(wait) => kit::rt::sleep(wait).map(|()| (Input::TimerFired, Vec::new())).boxed(),
                Action::Suspend => pending().boxed(),
                Action::Unsubscribe => return Next::End(Ended::Unsubscribed),
                Action::End => return Next::End(Ended::Stopped),
            };
            next = Next::Effect(effect);
        }
        next
    }

    fn read(&self, after: Sequence, limit: usize) -> Effect {
        if self.caught_up.is_some_and(|caught_up| caught_up <= after)
            && let Some(events) = self.log.read_recent(after, limit, BATCH_BYTES)
        {
            return ready(self.was_read()(events)).boxed();
        }
        let (log, deps, was_read) = (Arc::clone(&self.log), self.deps.clone(), self.was_read());
        Box::pin(async move {
            match log.read(after, limit, BATCH_BYTES).await {
                Ok(events) => was_read(events),
                Err(error) => (Input::Read(Err(error.to_string()), moment(&deps)), Vec::new()),
            }
        })
    }

    /// Makes the input of the events that were read.
    fn was_read(&self) -> impl FnOnce(Vec<Logged>) -> (Input, Vec<Logged>) + Send + use<> {
        let (log, deps, service) = (Arc::clone(&self.log), self.deps.clone(), self.service);
        move |events| {
            let page = events.last().map(|event| Page {
                last: event.sequence,
                may_wait: event.sequence == *log.head().borrow() && may_wait(service, &events),
            });
            (Input::Read(Ok(page), moment(&deps)), events)
        }
    }

    fn await_growth(&self, beyond: Sequence) -> Effect {
        let mut head = self.log.head();
        Box::pin(async move {
            if head.wait_for(|head| *head > beyond).await.is_err() {
                // The log is gone, and the bus with it.
                pending::<()>().await;
            }
            (Input::LogGrew, Vec::new())
        })
    }

    fn gather(&self, beyond: Sequence, wait: Duration) -> Effect {
        let growth = self.await_growth(beyond);
        Box::pin(async move {
            kit::rt::timeout(wait, growth).await.unwrap_or_else(|_| (Input::TimerFired, Vec::new()))
        })
    }

    fn send(&self, url: &str, batch: bool, events: &[Logged]) -> Effect {
        let request = self.request(url, batch, events);
        let (protocol, deps, log) = (self.protocol, self.deps.clone(), Arc::clone(&self.log));
        let ahead = self.read_ahead(events);
        Box::pin(async move {
            let send = async {
                match request {
                    Ok(request) => deps.transport.send(request).await,
                    Err(error) => Err(error),
                }
            };
            let (answer, ahead) = join(send, ahead).await;
            let mut outcome = outcome(protocol, &answer);
            if matches!(outcome, Outcome::Rewind(cursor) if cursor > *log.head().borrow())
                && let Err(error) = log.refresh().await
            {
                outcome = Outcome::Retry(error.to_string());
            }
            let head = *log.head().borrow();
            (Input::Answered { outcome, head, at: moment(&deps) }, ahead)
        })
    }

    /// While a subscriber that is far behind applies many events, the next ones are read.
    fn read_ahead(&self, sent: &[Logged]) -> impl Future<Output = Vec<Logged>> + use<> {
        let (log, many) = (Arc::clone(&self.log), sent.len() >= MANY);
        let after = sent.last().map(|event| event.sequence);
        async move {
            match after {
                // An error is reported by the read that follows.
                Some(after) if many => log.read(after, BATCH_EVENTS, BATCH_BYTES).await.unwrap_or_default(),
                _ => Vec::new(),
            }
        }
    }

    fn request(
        &self,
        url: &str,
        batch: bool,
        events: &[Logged],
    ) -> Result<http::Request<bytes::Bytes>, TransportError> {
        let (content_type, body) = match events {
            [one] if !batch => ("application/json", one.json.to_string()),
            many => (CLOUDEVENTS_BATCH_JSON, json_array(many)),
        };
        let ids = &*self.deps.ids;
        let trace = events.first().and_then(|event| trace::of_json(&event.json));
        let trace = trace.map_or_else(|| TraceContext::new(ids), |trace| trace.child(ids));
        let mut request = http::Request::post(url)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(TRACEPARENT, trace.header());
        if let Some(key) = &self.key {
            let id = format!("msg_{}", ids.uuid().simple());
            for (name, value) in key.sign(&id, self.deps.clock.now(), body.as_bytes()) {
                request = request.header(name, value);
            }
        }
        request.body(body.into()).map_err(|e| TransportError::Other(e.to_string()))
    }
}

enum Next {
    /// Wait for this one.
    Effect(Effect),
    /// Wait for the same as before.
    Keep,
    End(Ended),
}

/// The service of this system that subscribes under this name, itself or an instance of it.
fn service_of(name: &str, protocol: Protocol) -> Option<ServiceName> {
    let (service, _) = subscription_parts(name);
    service.parse().ok().filter(|_| protocol == Protocol::Native)
}

/// Whether these events may be delivered a moment later: no service does anything about events that only others act on,
/// nor about its own, except after it has lost its store.
fn may_wait(service: Option<ServiceName>, events: &[Logged]) -> bool {
    let Some(service) = service else { return false };
    let acts_on = |event: &Logged| {
        type_of_json(&event.json).is_none_or(|kind| kind.concerns(service) && kind.publisher() != service)
    };
    events.len() <= FEW && !events.iter().any(acts_on)
}

/// The type of an event in JSON; `None` for one that is not of this system.
fn type_of_json(event: &str) -> Option<EventType> {
    #[derive(serde::Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    serde_json::from_str::<Typed<'_>>(event).ok()?.kind.parse().ok()
}

fn follows(events: &[Logged], after: Sequence) -> bool {
    events.first().is_some_and(|event| event.sequence == after.next())
}

fn moment(deps: &Deps) -> Moment {
    Moment { now: deps.clock.now(), random: deps.ids.random() }
}

fn log_note(subscriber: &str, note: Note) {
    match note {
        // Logs attempts 1, 2, 4, 8, …
        Note::Failed { error, attempts, wait } if attempts.is_power_of_two() => {
            let wait_ms = wait.as_millis() as u64;
            tracing::warn!(subscriber, error, attempts, wait_ms, "a delivery failed; it will be retried");
        }
        Note::Failed { .. } => {}
        Note::Recovered { attempts } => {
            tracing::info!(subscriber, attempts, "deliveries succeed again");
        }
        Note::Rewound { from, to } => {
            tracing::info!(subscriber, from = from.get(), to = to.get(), "the subscriber rewound its cursor");
        }
        Note::LostTail(why) => {
            tracing::error!(subscriber, error = why, "deliveries are suspended until the log is restored");
        }
    }
}

/// A JSON array of events.
pub fn json_array(events: &[Logged]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_concerned_by_what_concerns_its_service() {
        let moderation = Some(ServiceName::Moderation);
        assert_eq!(service_of("moderation", Protocol::Native), moderation);
        assert_eq!(service_of("moderation/a", Protocol::Native), moderation);
        assert_eq!(service_of("moderation/a", Protocol::Plain), None);
        assert_eq!(service_of("a/moderation", Protocol::Native), None);
    }
}
