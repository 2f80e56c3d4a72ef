//! Appends: all that wait are stored in one batch of the server, which stores all of it or nothing. A few events that were
//! appended one by one are sent one by one.

use super::api::{CallError, Held, REQUEST, Wanted, code, message, request};
use super::message::{NewMessage, Read};
use super::{Shared, sequence};
use crate::log::{IdConflict, LogError};
use async_nats::HeaderMap;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use kit::rt::{self, Instant};
use serde::Deserialize;
use shared::Sequence;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The most events of one append: what the server takes as one batch.
pub(super) const MOST: usize = 1_000;
/// The most events of several appends that share a batch.
const GROUP: usize = 256;
/// The most bytes of several appends that share a batch.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// The most appends of one event each that are sent for themselves: a batch takes the server as long as some 25 messages.
const SINGLES: usize = 16;
/// How long a batch is tried. The events may be stored after that, too: whoever appends them again finds them.
const PATIENCE: Duration = Duration::from_secs(8);
/// The first wait between two attempts; each is twice as long, up to [`MAX_WAIT`].
const WAIT: Duration = Duration::from_millis(20);
const MAX_WAIT: Duration = Duration::from_millis(500);
/// How many subjects are looked up at once.
const LOOKUPS: usize = 64;

/// An append that waits.
pub(super) struct Job {
    /// Without repeats.
    messages: Vec<NewMessage>,
    /// Of each event, which message it is.
    positions: Vec<usize>,
    answer: oneshot::Sender<Result<Vec<Sequence>, LogError>>,
}

/// An event that is appended together with another one of the same subject.
pub(super) struct Repeated {
    pub subject: String,
    pub conflict: IdConflict,
}

impl Job {
    /// Drops repeats: the server refuses a batch with two messages of one subject.
    pub fn new(
        events: Vec<NewMessage>,
        answer: oneshot::Sender<Result<Vec<Sequence>, LogError>>,
    ) -> Result<Self, Repeated> {
        let mut messages: Vec<NewMessage> = Vec::with_capacity(events.len());
        let mut positions = Vec::with_capacity(events.len());
        let mut known = HashMap::with_capacity(events.len());
        for event in events {
            let Some(&position) = known.get(&event.subject) else {
                known.insert(event.subject.clone(), messages.len());
                positions.push(messages.len());
                messages.push(event);
                continue;
            };
            if !event.event.is_same_event(&messages[position].event.json) {
                let conflict = event.event.conflict(Sequence::START);
                return Err(Repeated { subject: event.subject, conflict });
            }
            positions.push(position);
        }
        Ok(Self { messages, positions, answer })
    }

    /// The number of its messages.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    fn bytes(&self) -> usize {
        self.messages.iter().map(NewMessage::bytes).sum()
    }
}

/// Runs until nobody can append any more: also what is appended while the bus stops is stored.
pub(super) async fn run(shared: Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(job) => job,
            None => match jobs.recv().await {
                Some(job) => job,
                None => return,
            },
        };
        let (mut events, mut bytes) = (first.messages.len(), first.bytes());
        let mut subjects: HashSet<String> = first.messages.iter().map(|m| m.subject.clone()).collect();
        let mut group = vec![first];
        while let Ok(job) = jobs.try_recv() {
            (events, bytes) = (events + job.messages.len(), bytes + job.bytes());
            let fits = events <= GROUP && bytes <= GROUP_BYTES;
            if !fits || job.messages.iter().any(|m| subjects.contains(&m.subject)) {
                next = Some(job);
                break;
            }
            subjects.extend(job.messages.iter().map(|m| m.subject.clone()));
            group.push(job);
        }
        Batch::new(&shared, group).store().await;
    }
}

#[derive(Deserialize)]
struct Ack {
    seq: u64,
}

/// Appends that are stored together.
struct Batch<'s> {
    shared: &'s Shared,
    jobs: Vec<Option<Job>>,
    /// Of each job and message, where the log holds it.
    places: Vec<Vec<Option<Sequence>>>,
    until: Instant,
}

impl<'s> Batch<'s> {
    fn new(shared: &'s Shared, jobs: Vec<Job>) -> Self {
        let places = jobs.iter().map(|job| vec![None; job.messages.len()]).collect();
        let jobs = jobs.into_iter().map(Some).collect();
        Self { shared, jobs, places, until: Instant::now() + PATIENCE }
    }

    /// The messages whose place is not known, by job and message.
    fn open(&self) -> Vec<(usize, usize)> {
        let jobs = self.jobs.iter().zip(&self.places).enumerate().filter(|(_, (job, _))| job.is_some());
        jobs.flat_map(|(job, (_, places))| {
            let open = places.iter().enumerate().filter(|(_, place)| place.is_none());
            open.map(move |(message, _)| (job, message))
        })
        .collect()
    }

    fn message(&self, (job, message): (usize, usize)) -> Option<&NewMessage> {
        self.jobs[job].as_ref().map(|job| &job.messages[message])
    }

    async fn store(mut self) {
        let mut wait = WAIT;
        loop {
            let open = self.open();
            if open.is_empty() {
                return self.finish();
            }
            if let Some(fault) = self.shared.fault() {
                let shared = self.shared;
                return self.fail(|| shared.damaged(fault.clone()));
            }
            let error = match self.send(&open).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            let is_known =
                matches!(error.code(), Some(code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_UNNAMED));
            let error = if is_known {
                match self.find(&open).await {
                    Ok(true) => continue,
                    // Stored a moment ago, and not yet to be read.
                    Ok(false) => error,
                    Err(error) => error,
                }
            } else {
                error
            };
            let may_pass = is_known || error.may_pass();
            if !may_pass || Instant::now() + wait >= self.until {
                return self.fail(|| LogError::Unavailable(error.to_string()));
            }
            tracing::debug!(%error, "a batch of events is stored again");
            rt::sleep(wait).await;
            wait = (2 * wait).min(MAX_WAIT);
        }
    }

    /// Sends the messages, and notes the places of those that are stored.
    async fn send(&mut self, open: &[(usize, usize)]) -> Result<(), CallError> {
        let before = *self.shared.head.borrow();
        let messages: Vec<_> = open.iter().filter_map(|&at| self.message(at)).collect();
        let jobs: HashSet<_> = open.iter().map(|(job, _)| job).collect();
        let (places, error) = if jobs.len() == open.len() && open.len() <= SINGLES {
            send_singly(self.shared, &messages).await
        } else {
            let last = send_batch(self.shared, &messages).await?;
            let first = last - messages.len() as i64 + 1;
            ((first..=last).map(Some).collect(), None)
        };
        let mut stored = Vec::with_capacity(open.len());
        for (message, place) in messages.into_iter().zip(&places) {
            let Some(place) = *place else { continue };
            if place <= before.get() {
                let what = format!(
                    "it gives the place {place} again, and {before} was acknowledged: it has lost its tail"
                );
                let what = self.shared.broken.get_or_init(|| what).clone();
                tracing::error!(
                    stream = self.shared.url.stream,
                    what,
                    "nothing is appended until the bus is started again"
                );
                return Err(CallError::Unreadable(what));
            }
            stored.push(message.logged(Sequence::new(place)));
        }
        for (&(job, message), place) in open.iter().zip(places) {
            self.places[job][message] = place.map(Sequence::new);
        }
        stored.sort_by_key(|event| event.sequence);
        self.shared.stored(&stored).await;
        error.map_or(Ok(()), Err)
    }

    /// Asks for each message whether the log holds it already; returns whether any was found.
    async fn find(&mut self, open: &[(usize, usize)]) -> Result<bool, CallError> {
        let shared = self.shared;
        let subjects: Vec<_> =
            open.iter().filter_map(|&at| self.message(at)).map(|m| m.subject.clone()).collect();
        let lookups = subjects.into_iter().map(|subject| async move {
            message(&shared.client, &shared.url.stream, &Wanted::LastBySubj(&subject)).await
        });
        let held: Vec<Option<Held>> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        let mut any = false;
        for (&(job, message), held) in open.iter().zip(held) {
            let (Some(held), Some(new)) = (held, self.message((job, message))) else { continue };
            any = true;
            let place = sequence(held.sequence);
            shared.advance(place);
            let refusal = match Read::of_held(held) {
                None => shared.damaged(format!("the event {place} is not as it was appended")),
                Some(stored) if !new.event.is_same_event(&stored.envelope) => {
                    new.event.conflict(place).into()
                }
                Some(_) => {
                    self.places[job][message] = Some(place);
                    continue;
                }
            };
            if let Some(job) = self.jobs[job].take() {
                // The publisher may have left.
                let _ = job.answer.send(Err(refusal));
            }
        }
        Ok(any)
    }

    fn finish(self) {
        for (job, places) in self.jobs.into_iter().zip(self.places) {
            let Some(job) = job else { continue };
            let sequences = job.positions.iter().filter_map(|&position| places[position]).collect();
            let _ = job.answer.send(Ok(sequences));
        }
    }

    fn fail(self, error: impl Fn() -> LogError) {
        for job in self.jobs.into_iter().flatten() {
            let _ = job.answer.send(Err(error()));
        }
    }
}

/// Sends each message for itself, all at once; returns the places of those that are stored, and the first error.
async fn send_singly(shared: &Shared, messages: &[&NewMessage]) -> (Vec<Option<i64>>, Option<CallError>) {
    let mut error = None;
    let acks = join_all(messages.iter().map(|message| send(shared, message, message.headers()))).await;
    let places = acks.into_iter().map(|ack| ack.map_err(|e| error = error.take().or(Some(e))).ok());
    (places.collect(), error)
}

/// Sends the messages as one batch, and returns the place of the last.
async fn send_batch(shared: &Shared, messages: &[&NewMessage]) -> Result<i64, CallError> {
    let Some((last, others)) = messages.split_last() else {
        return Err(CallError::Unreadable("an empty batch".to_owned()));
    };
    // Unique among the batches that a server has open.
    let id = shared.client.new_inbox();
    let headers = |message: &NewMessage, number: usize| -> HeaderMap {
        let mut headers = message.headers();
        headers.insert("Nats-Batch-Id", id.as_str());
        headers.insert("Nats-Batch-Sequence", number.to_string());
        headers
    };
    let publish_others = async {
        for (message, number) in others.iter().zip(1..) {
            let (subject, json) = (message.subject.clone(), message.event.json.clone());
            let sent =
                shared.client.publish_with_headers(subject, headers(message, number), json.into()).await;
            sent.map_err(|e| CallError::NoAnswer(e.to_string()))?;
        }
        Ok(())
    };
    let published = rt::timeout(REQUEST, publish_others).await;
    published.map_err(|_| CallError::NoAnswer("timed out".to_owned()))??;
    let mut headers = headers(last, messages.len());
    headers.insert("Nats-Batch-Commit", "1");
    send(shared, last, headers).await
}

/// Sends a message, and returns its place.
async fn send(shared: &Shared, message: &NewMessage, headers: HeaderMap) -> Result<i64, CallError> {
    let (subject, json) = (message.subject.clone(), message.event.json.clone());
    let ack: Ack = request(&shared.client, subject, Some(headers), json.into()).await?;
    Ok(sequence(ack.seq).get())
}
