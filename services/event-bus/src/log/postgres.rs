//! The log in PostgreSQL, in the database of the bus's store: several replicas of the bus append to it.
//!
//! One call of `log_append` appends what waits in this replica, so that one commit serves many publications. What other
//! replicas append is seen when the store says that something was committed.

use super::recent::Recent;
use super::row::{NewEvent, read, with_sequence};
use super::{EventLog, IdConflict, LogError, Logged};
use futures_util::future::BoxFuture;
use kit::rt;
use kit::store::{Durability, Guard, OpenError, SqlError, Store, Tx, WriteError, values};
use shared::{Envelope, Sequence, Timestamp};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The log's tables and functions, for the schema of the bus's store.
pub const SCHEMA: &str = include_str!("postgres.sql");

/// The most events in one call, unless one publication alone has more.
const GROUP_EVENTS: usize = 2_048;
/// The most bytes of envelopes in one call, unless one publication alone is larger.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How many calls may be under way: while one is committed, the next waits for its lock.
const CALLS: usize = 2;
/// The most publications that may wait.
const QUEUE: usize = 8_192;
/// The least time between two looks at what others append.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// How long a bus that starts waits where the database cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// The log of events in a database that replicas share. Clones share it.
#[derive(Debug, Clone)]
pub struct PostgresLog(Arc<Log>);

#[derive(Debug)]
struct Log {
    store: Store,
    head: watch::Sender<Sequence>,
    recent: Recent,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Publication>,
    calls: usize,
}

/// Events that are appended together, or not at all.
#[derive(Debug)]
struct Publication {
    rows: Arc<[NewEvent]>,
    now: Timestamp,
    reply: oneshot::Sender<Result<Vec<Sequence>, LogError>>,
}

/// Of each publication of a call, by its place in it.
#[derive(Debug)]
struct Called {
    /// The last event of the log.
    head: Sequence,
    publications: Vec<Vec<Sequence>>,
    new: Vec<Logged>,
}

/// Why nothing of a call was appended.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The publications that cannot be appended, each with the first event that the log holds another one of.
    #[error("events have the ids of others")]
    Conflicts { before: Sequence, of: Vec<(usize, IdConflict)> },
}

impl PostgresLog {
    /// Finds the end of the log, as soon as the database can be read.
    pub async fn open(store: Store) -> Result<Self, OpenError> {
        let mut waits = false;
        let head = loop {
            let error = match store.read(ends).await {
                Ok((head, last)) if head == last => break head,
                Ok((head, last)) => {
                    return Err(OpenError::Database(format!(
                        "{store:?}: it is damaged: the log is to end at {head}, and its last event is {last}; restore \
                         it from a backup"
                    )));
                }
                Err(error) => error,
            };
            if !std::mem::replace(&mut waits, true) {
                tracing::warn!(%error, "the log cannot be read; waiting for the database");
            }
            rt::sleep(RETRY).await;
        };
        let (head, queue) = (watch::Sender::new(head), Mutex::default());
        Ok(Self(Arc::new(Log { store, head, recent: Recent::default(), queue })))
    }
}

/// Where the log is to end, and its last event.
fn ends(tx: &Tx<'_>) -> Result<(Sequence, Sequence), SqlError> {
    const ENDS: &str = "SELECT seq, (SELECT coalesce(max(seq), 0) FROM events) FROM log_head WHERE one = 1";
    tx.one(ENDS, &[], |row| Ok((Sequence::new(row.int(0)?), Sequence::new(row.int(1)?))))
}

impl Log {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, head: Sequence) {
        self.head.send_if_modified(|known| {
            let grows = *known < head;
            *known = head.max(*known);
            grows
        });
    }

    /// Adds a publication, and begins a call unless those that are under way take it along.
    fn submit(self: &Arc<Self>, publication: Publication) -> Result<(), LogError> {
        let mut queue = self.queue();
        if queue.waiting.len() >= QUEUE {
            return Err(LogError::Unavailable("too many publications are waiting".to_owned()));
        }
        queue.waiting.push_back(publication);
        if queue.calls < CALLS {
            queue.calls += 1;
            let mut caller = Caller { log: Arc::clone(self), has_ended: false };
            drop(queue);
            // Whoever waits for a publication may leave; its call serves others, too.
            rt::spawn(async move {
                while let Some(group) = caller.next_group() {
                    caller.log.append(group).await;
                }
            });
        }
        Ok(())
    }

    /// Appends publications, and answers each. One that is in conflict with what the log holds is left out; one that is in
    /// conflict with another one of the group comes after it, alone.
    async fn append(self: &Arc<Self>, group: Vec<Publication>) {
        let mut groups = VecDeque::from([group]);
        while let Some(mut group) = groups.pop_front() {
            if group.is_empty() {
                continue;
            }
            match self.call(&group).await {
                Ok(called) => {
                    for (publication, sequences) in group.into_iter().zip(called.publications) {
                        answer(publication, Ok(sequences));
                    }
                }
                Err(WriteError::Rejected(CallError::Conflicts { before, of })) => {
                    let is_alone = group.len() == 1;
                    let known = |conflict: &IdConflict| conflict.sequence <= before;
                    let any_known = of.iter().any(|(_, conflict)| known(conflict));
                    // From the last one, so that the places of the others stay.
                    for (at, conflict) in of.into_iter().rev() {
                        if is_alone || known(&conflict) {
                            answer(group.remove(at), Err(conflict.into()));
                        } else if !any_known {
                            groups.push_front(vec![group.remove(at)]);
                        }
                    }
                    groups.push_front(group);
                }
                // The data of one of them, perhaps: the others are not to suffer from it.
                Err(WriteError::Rejected(CallError::Sql(error)))
                    if group.len() > 1 && error.is_permanent() =>
                {
                    groups.extend(group.into_iter().map(|publication| vec![publication]));
                }
                Err(error) => {
                    for publication in group {
                        answer(publication, Err(failure(&error)));
                    }
                }
            }
        }
    }

    /// Appends the events of a group in one transaction.
    async fn call(self: &Arc<Self>, group: &[Publication]) -> Result<Called, WriteError<CallError>> {
        let publications: Vec<_> = group.iter().map(|p| (Arc::clone(&p.rows), p.now)).collect();
        let rows = || publications.iter().flat_map(|(rows, now)| rows.iter().map(move |row| (row, *now)));
        let sources = texts(rows().map(|(row, _)| &*row.source));
        let ids = texts(rows().map(|(row, _)| &*row.id));
        let times = numbers(rows().map(|(_, now)| now.unix_ms()));
        let envelopes = texts(rows().map(|(row, _)| &*row.json));
        // XOR with 0.
        let checksums = numbers(rows().map(|(row, _)| row.checksum.at(Sequence::START)));
        let write = move |tx: &Tx<'_>| {
            let found = tx.query(APPEND, values![&sources, &ids, &times, &envelopes, &checksums], |row| {
                let other = row.opt_text(1)?.map(str::to_owned);
                Ok(Found { place: Sequence::new(row.int(0)?), other, before: Sequence::new(row.int(2)?) })
            })?;
            called(&publications, found).map(|called| (called, Durability::Now))
        };
        let log = Arc::clone(self);
        // On disk now, and not before. Also where the publishers have left.
        let hand_on = move |called: &Called| {
            log.recent.push(&called.new);
            log.advance(called.head);
        };
        // The function locks the end of the log itself.
        self.store.write_then(Guard::None, write, hand_on).await
    }

    /// Finds out how far others have appended.
    async fn look(&self) -> Result<(), LogError> {
        let known = *self.head.borrow();
        let (head, last) = self.store.read(ends).await?;
        if head < known || last < head {
            // Whatever was derived from the lost events is void: the process starts again, and its consumers say how far
            // they are.
            let end = known.max(head);
            let what = format!("the log has lost its tail: it ended at {end}, and ends at {last}");
            self.store.end_as_damaged(&what);
            return Err(LogError::Unavailable(what));
        }
        self.advance(head);
        Ok(())
    }
}

/// Makes calls until nothing waits.
struct Caller {
    log: Arc<Log>,
    has_ended: bool,
}

impl Caller {
    fn next_group(&mut self) -> Option<Vec<Publication>> {
        let mut queue = self.log.queue();
        let (mut group, mut events, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = queue.waiting.front() {
            events += next.rows.len();
            bytes += next.rows.iter().map(|row| row.json.len()).sum::<usize>();
            if !group.is_empty() && (events > GROUP_EVENTS || bytes > GROUP_BYTES) {
                break;
            }
            group.extend(queue.waiting.pop_front());
        }
        if group.is_empty() {
            queue.calls -= 1;
            self.has_ended = true;
            return None;
        }
        Some(group)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // A panic.
        if !self.has_ended {
            self.log.queue().calls -= 1;
        }
    }
}

const APPEND: &str = "
    SELECT place, stored, before
    FROM log_append($1::text::text[], $2::text::text[], $3::text::bigint[], $4::text::text[], $5::text::bigint[])";

/// What `log_append` returns of an event.
struct Found {
    place: Sequence,
    /// What is stored under its id, where that is another text.
    other: Option<String>,
    /// Where the log ended before.
    before: Sequence,
}

fn called(publications: &[(Arc<[NewEvent]>, Timestamp)], found: Vec<Found>) -> Result<Called, CallError> {
    let before = found.first().map_or(Sequence::START, |first| first.before);
    let (mut new, mut conflicts, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let (mut next, mut found) = (before.next(), found.into_iter());
    for (at, (rows, now)) in publications.iter().enumerate() {
        let (mut sequences, mut conflict) = (Vec::with_capacity(rows.len()), None);
        for row in rows.iter() {
            let Found { place, other, .. } =
                found.next().ok_or_else(|| SqlError::data("the log has not returned all places"))?;
            if other.is_some_and(|other| !row.is_same_event(&other)) && conflict.is_none() {
                conflict = Some((at, row.conflict(place)));
            }
            if place == next {
                let json = with_sequence(place, &row.json);
                new.push(Logged { sequence: place, recorded_at: *now, json });
                next = next.next();
            }
            sequences.push(place);
        }
        conflicts.extend(conflict);
        places.push(sequences);
    }
    if !conflicts.is_empty() {
        return Err(CallError::Conflicts { before, of: conflicts });
    }
    let head = new.last().map_or(before, |last| last.sequence);
    Ok(Called { head, publications: places, new })
}

fn answer(publication: Publication, result: Result<Vec<Sequence>, LogError>) {
    // The publisher may have left.
    let _ = publication.reply.send(result);
}

fn failure(error: &WriteError<CallError>) -> LogError {
    match error {
        WriteError::Panicked => LogError::Panicked,
        WriteError::DiskFloor { floor } => LogError::DiskFloor { floor: *floor },
        error => LogError::Unavailable(error.to_string()),
    }
}

/// An array as PostgreSQL reads it from text.
fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut array = String::from("{");
    for text in texts {
        array.push_str(if array.len() > 1 { ",\"" } else { "\"" });
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                array.push('\\');
            }
            array.push(c);
        }
        array.push('"');
    }
    array.push('}');
    array
}

fn numbers(numbers: impl Iterator<Item = i64>) -> String {
    let numbers: Vec<_> = numbers.map(|number| number.to_string()).collect();
    format!("{{{}}}", numbers.join(","))
}

impl EventLog for PostgresLog {
    fn append(
        &self,
        events: Vec<Envelope>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Sequence>, LogError>> {
        Box::pin(async move {
            if events.is_empty() {
                return Ok(Vec::new());
            }
            let rows: Result<Arc<[_]>, _> = events.into_iter().map(|e| NewEvent::new(e, now)).collect();
            let rows = rows.map_err(|e| LogError::Unavailable(e.to_string()))?;
            let (reply, answer) = oneshot::channel();
            self.0.submit(Publication { rows, now, reply })?;
            // Each is answered, unless its call panics.
            answer.await.unwrap_or(Err(LogError::Panicked))
        })
    }

    fn read(
        &self,
        after: Sequence,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Logged>, LogError>> {
        Box::pin(async move {
            let head = *self.0.head.borrow();
            let limit = limit.min(usize::try_from(head.get() - after.get()).unwrap_or(0));
            if limit == 0 {
                return Ok(Vec::new());
            }
            let events = self.0.store.read(move |tx| read(tx, after, limit, max_bytes)).await;
            let place = || format!("{:?}", self.0.store);
            events?.map_err(|damage| LogError::Damaged { place: place(), what: damage.to_string() })
        })
    }

    fn read_recent(&self, after: Sequence, limit: usize, max_bytes: usize) -> Option<Vec<Logged>> {
        self.0.recent.read(after, limit, max_bytes)
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.0.head.subscribe()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(self.0.look())
    }

    /// Follows what other replicas append.
    fn maintain(&self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            let mut committed = log.store.committed();
            loop {
                committed.mark_unchanged();
                if let Err(error) = log.look().await {
                    tracing::debug!(%error, "what other replicas append cannot be seen");
                }
                let next = async {
                    rt::sleep(LOOK_PAUSE).await;
                    committed.changed().await
                };
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => return,
                    changed = next => if changed.is_err() {
                        return;
                    }
                }
            }
        })
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests;
