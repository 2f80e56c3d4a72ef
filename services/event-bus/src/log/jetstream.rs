//! The log in a stream of NATS JetStream.
//!
//! Each event is a message of a subject of its own, stored on the condition that the subject has none: the stream knows
//! for ever what it holds. Its sequence is the log's.

mod api;
mod append;
mod connection;
mod message;
mod reader;
mod stream;

use super::recent::Recent;
use super::url::{EventLogLocation, EventLogUrl, LocationError};
use super::{EventLog, LogError, Logged};
use append::{Job, Repeated};
use async_nats::{Client, ConnectErrorKind};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use kit::rt::{self, Instant};
use message::NewMessage;
use reader::Reader;
use shared::{Envelope, Sequence, Timestamp};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use stream::{CheckError, Info};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How often the stream is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many appends may wait.
const WAITING: usize = 4_096;
/// How often a wait for the servers is logged.
const LOG_WAIT: Duration = Duration::from_secs(10);

/// Why the log cannot be opened: the settings, the server or the stream have to be mended first.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error("the event log at {url}: {what}")]
    Wrong { url: String, what: String },
}

/// What appends, reads and looks share.
struct Shared {
    client: Client,
    url: EventLogUrl,
    /// When the stream was made.
    created: String,
    head: watch::Sender<Sequence>,
    recent: Recent,
    /// Why nothing is appended at present: the last look found the stream not as it must be.
    fault: Mutex<Option<String>>,
    /// Why nothing is appended until the bus is started again: the stream is not the one that the bus knew.
    broken: OnceLock<String>,
}

impl Shared {
    fn fault(&self) -> Option<String> {
        let fault = || self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.broken.get().cloned().or_else(fault)
    }

    /// Logs what changes.
    fn set_fault(&self, fault: Option<String>) {
        let mut current = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != fault {
            if let Some(fault) = &fault {
                tracing::error!(stream = self.url.stream, fault, "nothing is appended to the log");
            } else {
                tracing::info!(stream = self.url.stream, "the log is in order again");
            }
            *current = fault;
        }
    }

    fn damaged(&self, what: String) -> LogError {
        LogError::Damaged { place: self.url.to_string(), what }
    }

    /// The head only grows: a server that lags behind does not move it back.
    fn advance(&self, to: Sequence) {
        self.head.send_if_modified(|head| {
            let grows = to > *head;
            if grows {
                *head = to;
            }
            grows
        });
    }

    /// Hands on what is stored, and wakes the other replicas of the bus.
    async fn stored(&self, events: &[Logged]) {
        let Some(last) = events.last() else { return };
        self.recent.push(events);
        self.advance(last.sequence);
        // They would notice it by their next look.
        let _ = self.client.publish(self.wake_up(), Vec::new().into()).await;
    }

    /// Not a subject of the stream, which has three parts.
    fn wake_up(&self) -> String {
        format!("{}.grown", self.url.stream)
    }

    /// Takes what a look at the stream found, which began when the head was this.
    fn looked(&self, head: Sequence, info: &Info) {
        let end = sequence(info.state.last_seq);
        let fault = if info.created != self.created {
            Some("the stream was made anew: the log that the bus knew is gone".to_owned())
        } else if let Err(error) = stream::check(&self.url, info) {
            Some(error.to_string())
        } else if end < head {
            Some(format!("the stream ends at {end}, and {head} was acknowledged: it has lost its tail"))
        } else {
            None
        };
        let is_sound = fault.is_none();
        self.set_fault(fault);
        if is_sound {
            self.advance(end);
        }
    }
}

/// Places are signed; no stream is that long.
fn sequence(number: u64) -> Sequence {
    Sequence::new(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The log in a stream of NATS JetStream. Clones share it.
#[derive(Clone)]
pub struct JetStreamLog {
    shared: Arc<Shared>,
    reader: Arc<Reader>,
    jobs: mpsc::Sender<Job>,
}

impl std::fmt::Debug for JetStreamLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JetStreamLog({})", self.shared.url)
    }
}

impl JetStreamLog {
    /// Connects, and makes the stream or checks the one that exists. Waits for servers that are away; what an operator
    /// has to mend is an error, and nothing is changed.
    pub async fn open(location: EventLogLocation) -> Result<Self, OpenError> {
        let mut logged: Option<Instant> = None;
        loop {
            let url = location.read()?;
            let wrong = |what: String| OpenError::Wrong { url: url.to_string(), what };
            let why = match connection::connect(&location, &url).await {
                Ok(client) => match stream::open(&client, &url).await {
                    Ok(info) => return Ok(Self::new(client, url, &info)),
                    Err(CheckError::Wrong(what)) => return Err(wrong(what)),
                    Err(CheckError::Call(error)) if error.may_pass() => error.to_string(),
                    Err(CheckError::Call(error)) => return Err(wrong(error.to_string())),
                },
                Err(error) => match error.kind() {
                    ConnectErrorKind::AuthorizationViolation => {
                        return Err(wrong(
                            "the NATS server refuses the user, the password or the token".to_owned(),
                        ));
                    }
                    ConnectErrorKind::Tls
                    | ConnectErrorKind::ServerParse
                    | ConnectErrorKind::Authentication => {
                        return Err(wrong(error.to_string()));
                    }
                    _ => error.to_string(),
                },
            };
            if logged.is_none_or(|at| at.elapsed() >= LOG_WAIT) {
                tracing::warn!(%url, error = why, "waiting for the NATS servers of the event log");
                logged = Some(Instant::now());
            }
            rt::sleep(LOOK).await;
        }
    }

    fn new(client: Client, url: EventLogUrl, info: &Info) -> Self {
        let shared = Arc::new(Shared {
            client,
            url,
            created: info.created.clone(),
            head: watch::Sender::new(sequence(info.state.last_seq)),
            recent: Recent::default(),
            fault: Mutex::default(),
            broken: OnceLock::new(),
        });
        let (jobs, waiting) = mpsc::channel(WAITING);
        // Its end is noticed by each append, which then fails.
        rt::spawn(append::run(Arc::clone(&shared), waiting));
        Self { shared, reader: Arc::default(), jobs }
    }

    /// Appends; the place of a conflict within the call is found, if the log has one.
    async fn append(&self, events: Vec<Envelope>, now: Timestamp) -> Result<Vec<Sequence>, LogError> {
        let stream = &self.shared.url.stream;
        let messages: Result<Vec<_>, _> =
            events.into_iter().map(|event| NewMessage::new(stream, event, now)).collect();
        let messages = messages?;
        let largest = messages.iter().map(NewMessage::bytes).max().unwrap_or(0);
        if largest > self.shared.client.max_payload() {
            return Err(LogError::TooLarge("an event is larger than the NATS server takes".to_owned()));
        }
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let job = match Job::new(messages, answer) {
            Ok(job) => job,
            Err(Repeated { subject, mut conflict }) => {
                let wanted = api::Wanted::LastBySubj(&subject);
                let held = api::message(&self.shared.client, stream, &wanted).await;
                let held = held.map_err(|e| LogError::Unavailable(e.to_string()))?;
                let place = held.map(|held| sequence(held.sequence));
                conflict.sequence = place.unwrap_or_else(|| self.shared.head.borrow().next());
                return Err(conflict.into());
            }
        };
        if job.len() > append::MOST {
            let most = append::MOST;
            return Err(LogError::TooLarge(format!(
                "at most {most} events at once; these are {}",
                job.len()
            )));
        }
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                LogError::Unavailable("too many writes are waiting".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => LogError::Panicked,
        })?;
        answered.await.map_err(|_| LogError::Panicked)?
    }
}

impl EventLog for JetStreamLog {
    fn append(
        &self,
        events: Vec<Envelope>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Sequence>, LogError>> {
        Box::pin(self.append(events, now))
    }

    fn read(
        &self,
        after: Sequence,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Logged>, LogError>> {
        Box::pin(self.reader.read(&self.shared, after, limit, max_bytes))
    }

    fn read_recent(&self, after: Sequence, limit: usize, max_bytes: usize) -> Option<Vec<Logged>> {
        self.shared.recent.read(after, limit, max_bytes)
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.shared.head.subscribe()
    }

    fn maintain(&self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = watch_stream(&shared) => {}
            }
        })
    }
}

/// Looks at the stream each second and as soon as another replica of the bus has appended: how far it reaches, and whether
/// it still is as it must be.
async fn watch_stream(shared: &Shared) {
    let mut wake_ups = None;
    loop {
        if wake_ups.is_none() {
            wake_ups = shared.client.subscribe(shared.wake_up()).await.ok();
        }
        let woken = async {
            match &mut wake_ups {
                Some(wake_ups) => wake_ups.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        if rt::timeout(LOOK, woken).await == Ok(false) {
            wake_ups = None;
            rt::sleep(LOOK).await;
        }
        // One look for all that have arrived.
        while let Some(Some(Some(_))) = wake_ups.as_mut().map(|wake_ups| wake_ups.next().now_or_never()) {}
        let head = *shared.head.borrow();
        match stream::info(&shared.client, &shared.url).await {
            Ok(info) => shared.looked(head, &info),
            Err(error) if error.code() == Some(api::code::NO_STREAM) => {
                shared.set_fault(Some("the stream is gone".to_owned()));
            }
            Err(error) => tracing::debug!(%error, "the stream cannot be looked at"),
        }
    }
}

#[cfg(test)]
mod tests;
