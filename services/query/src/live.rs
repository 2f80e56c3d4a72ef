//! `GET /live`: changes as they happen, as Server-Sent Events.
//!
//! One task reads each change from the store once, encodes it, and broadcasts the bytes to all listeners. A listener
//! that falls behind, or says which change it received last, reads what it missed from the store; where that is too much,
//! it gets the event `reload` in place of it, and has to load again what it shows.
//!
//! The id of an event is a place of the log and so the same on each replica: whoever has received it is up to date up to
//! there. The numbers of the changes are this store's own.
//!
//! | event | data | when |
//! |---|---|---|
//! | `hello` | `{}` | first; its id is where the stream begins |
//! | `change` | a [`LiveChange`] | something changed |
//! | `reload` | `{}` | in place of changes, also of the `hello`; its id is where the stream goes on |

use crate::store::{self, Change};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use kit::rt;
use kit::store::{ReadError, SqlError, Store, Tx};
use shared::views::LiveChange;
use shared::{PostId, Sequence};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// How many updates a listener may fall behind before it has to read from the store.
const BACKLOG: usize = 1_024;
/// How long to wait after the store could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// How many changes are read at once.
const PAGE: i64 = 256;
/// How many of them on the writer, for which all writes wait.
const FEW: i64 = 16;

/// How many changes a client that comes back may have missed.
const MAX_MISSED: i64 = 1_000;
// Otherwise a client that comes back from before a larger delivery would miss what is left out of it.
const _: () = assert!(MAX_MISSED < store::MOST_OF_A_DELIVERY as i64);
/// A comment, which clients ignore.
pub const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// A change as it is sent.
#[derive(Debug)]
pub struct LiveUpdate {
    /// The number of the change in the store.
    n: i64,
    post_id: PostId,
    /// The Server-Sent Event.
    event: Bytes,
}

/// A Server-Sent Event. `data` has no line breaks.
fn sse_event(name: &str, id: Sequence, data: &str) -> Bytes {
    format!("event: {name}\nid: {id}\ndata: {data}\n\n").into()
}

#[derive(Debug, Clone)]
pub struct Live {
    store: Store,
    updates: broadcast::Sender<Arc<LiveUpdate>>,
}

impl Live {
    /// Updates are published only while [`Live::run`] runs.
    pub fn new(store: Store) -> Self {
        Self { store, updates: broadcast::Sender::new(BACKLOG) }
    }

    /// The number of listeners.
    pub fn listeners(&self) -> usize {
        self.updates.receiver_count()
    }

    /// Publishes every change until `stopping`.
    pub async fn run(self, stopping: CancellationToken) {
        let updates = self.updates.clone();
        let handover =
            self.store.hand_over(move |tx, after| handed_over(tx, after, updates.receiver_count() > 0));
        let mut last = None;
        loop {
            // Taken before the changes are read, so that a commit during the read is not missed.
            let mut as_of = handover.now();
            let mut published = match self.publish_new(last).await {
                Ok(n) => n,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the changes; trying again");
                    tokio::select! {
                        biased;
                        () = stopping.cancelled() => return,
                        () = rt::sleep(RETRY) => continue,
                    }
                }
            };
            loop {
                let next = tokio::select! {
                    biased;
                    () = stopping.cancelled() => return,
                    next = handover.next(published, as_of) => next,
                };
                let Some((changes, read_as_of)) = next else { break };
                (published, as_of) = (changes.newest, read_as_of);
                self.publish(changes.updates);
                if !changes.are_all {
                    break;
                }
            }
            last = Some(published);
        }
    }

    fn publish(&self, updates: Vec<LiveUpdate>) {
        for update in updates {
            // An error only says that the last listener has just left.
            let _ = self.updates.send(Arc::new(update));
        }
    }

    /// Publishes the changes after `last` and returns the number of the newest one. Without `last` it publishes none.
    async fn publish_new(&self, last: Option<i64>) -> Result<i64, ReadError> {
        let Some(mut last) = last else {
            return self.store.read(store::last_change).await.map(|(n, _)| n);
        };
        loop {
            if self.listeners() == 0 {
                let (newest, _) = self.store.read(store::last_change).await?;
                // Still nobody: a listener that comes from now on reads up to here from the store. One that came
                // during the read may have read an older state, and still needs the updates.
                if self.listeners() == 0 {
                    return Ok(newest);
                }
            }
            let page = self.store.read(move |tx| updates_after(tx, last)).await?;
            let Some(newest) = page.last().map(|update| update.n) else { return Ok(last) };
            last = newest;
            self.publish(page);
        }
    }

    /// Changes after the event `after`, or from now on; of one post, or of all. Also returns up to which event the store
    /// is up to date.
    pub async fn listen(
        &self,
        after: Option<Sequence>,
        post: Option<PostId>,
    ) -> Result<(impl Stream<Item = Bytes> + use<>, Sequence), ReadError> {
        // Subscribes before it reads the store, so that no change falls between the two.
        let receiver = self.updates.subscribe();
        let (last, first, sequence) = self.store.read(move |tx| begin(tx, after)).await?;
        let listener = Listener { live: self.clone(), receiver, last, missed: true, waiting: Vec::new() };
        let changes = stream::unfold(listener, move |mut listener| {
            let post = post.clone();
            async move {
                loop {
                    match listener.next().await? {
                        Next::Reload(event) => return Some((event, listener)),
                        Next::Update(update) if post.as_ref().is_none_or(|post| *post == update.post_id) => {
                            return Some((update.event.clone(), listener));
                        }
                        Next::Update(_) => {}
                    }
                }
            }
        });
        // Sent at once: the client knows that it is connected, and from where to resume.
        Ok((stream::iter([first]).chain(changes), sequence))
    }
}

/// The number of the change after which a stream begins, its first event, and up to which event the store is up to date.
fn begin(tx: &Tx<'_>, after: Option<Sequence>) -> Result<(i64, Bytes, Sequence), SqlError> {
    let (newest, sequence) = store::last_change(tx)?;
    let Some(after) = after else { return Ok((newest, sse_event("hello", sequence, "{}"), sequence)) };
    let last = store::change_at(tx, after)?.min(newest);
    Ok(if newest - last > MAX_MISSED {
        (newest, sse_event("reload", sequence, "{}"), sequence)
    } else {
        (last, sse_event("hello", after, "{}"), sequence)
    })
}

struct Listener {
    live: Live,
    receiver: broadcast::Receiver<Arc<LiveUpdate>>,
    /// The number of the last change sent.
    last: i64,
    /// Whether the store may hold changes that did not come through the receiver.
    missed: bool,
    /// Read from the store and not sent yet, newest first.
    waiting: Vec<Arc<LiveUpdate>>,
}

enum Next {
    Update(Arc<LiveUpdate>),
    /// Some changes are lost.
    Reload(Bytes),
}

impl Listener {
    async fn next(&mut self) -> Option<Next> {
        loop {
            if let Some(update) = self.waiting.pop() {
                self.last = update.n;
                return Some(Next::Update(update));
            }
            if self.missed {
                match self.read_missed().await {
                    Ok(None) => continue,
                    Ok(Some(reload)) => return Some(Next::Reload(reload)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot read what a listener missed; it has to reconnect");
                        return None;
                    }
                }
            }
            match self.receiver.recv().await {
                Ok(update) if update.n <= self.last => {}
                // A number is missing: that change was skipped while there were no listeners.
                Ok(update) if update.n > self.last + 1 => self.missed = true,
                Ok(update) => {
                    self.last = update.n;
                    return Some(Next::Update(update));
                }
                Err(RecvError::Lagged(_)) => self.missed = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Reads a page of the changes that did not come through the receiver; returns the event that takes their place
    /// where some are lost.
    async fn read_missed(&mut self) -> Result<Option<Bytes>, ReadError> {
        let after = self.last;
        let read = move |tx: &Tx<'_>| {
            let is_lost = store::first_change(tx)?.is_some_and(|first| first > after + 1);
            if is_lost { store::last_change(tx).map(Err) } else { updates_after(tx, after).map(Ok) }
        };
        match self.live.store.read(read).await? {
            Ok(page) => {
                self.missed = !page.is_empty();
                self.waiting = page.into_iter().map(Arc::new).rev().collect();
                Ok(None)
            }
            Err((newest, sequence)) => {
                self.last = newest;
                Ok(Some(sse_event("reload", sequence, "{}")))
            }
        }
    }
}

/// One page of the changes after the `after`-th.
fn updates_after(tx: &Tx<'_>, after: i64) -> Result<Vec<LiveUpdate>, SqlError> {
    updates(tx, after, PAGE)
}

fn updates(tx: &Tx<'_>, after: i64, limit: i64) -> Result<Vec<LiveUpdate>, SqlError> {
    store::changes_after(tx, after, limit)?.into_iter().map(|change| update(tx, change)).collect()
}

/// What the writer hands over after a commit.
struct Changes {
    updates: Vec<LiveUpdate>,
    newest: i64,
    /// Whether nothing comes after the newest of them.
    are_all: bool,
}

/// The changes after the `after`-th; only their end, where nobody listens. A listener that comes from now on reads up to
/// there from the store.
fn handed_over(tx: &Tx<'_>, after: i64, has_listeners: bool) -> Result<Option<Changes>, SqlError> {
    let (updates, newest, are_all) = if has_listeners {
        let updates = updates(tx, after, FEW)?;
        let newest = updates.last().map_or(after, |update| update.n);
        let are_all = updates.len() < FEW as usize;
        (updates, newest, are_all)
    } else {
        (Vec::new(), store::last_change(tx)?.0, true)
    };
    Ok((newest > after).then_some(Changes { updates, newest, are_all }))
}

/// The current state of what changed, as everybody may see it.
fn update(tx: &Tx<'_>, change: Change) -> Result<LiveUpdate, SqlError> {
    let (mut post, mut comment, mut comment_count) = (None, None, None);
    match &change.comment_id {
        Some(id) => {
            comment = store::comment(tx, id)?.map(|comment| comment.view(None));
            comment_count = store::approved(tx, &change.post_id)?;
        }
        None => post = store::headline(tx, &change.post_id)?.map(|post| post.headline()),
    }
    let (sequence, post_id) = (change.sequence, change.post_id.clone());
    let live = LiveChange { sequence, post_id, post, comment, comment_count };
    let json = serde_json::to_string(&live).map_err(SqlError::data)?;
    let event = sse_event("change", change.sequence, &json);
    Ok(LiveUpdate { n: change.n, post_id: change.post_id, event })
}
