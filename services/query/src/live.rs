//! `GET /live`: changes as they happen.
//!
//! One task reads each change once and hands it to all who listen. Whoever falls behind, or comes back with a
//! `Last-Event-ID`, reads what they missed from the store.

use crate::store::{self, Change};
use axum::response::sse::Event as SseEvent;
use futures_util::{Stream, stream};
use kit::store::{ReadError, Store};
use rusqlite::Connection;
use shared::views::LiveChange;
use shared::{PostId, Sequence};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// How many changes a listener may fall behind before it reads from the store.
const BACKLOG: usize = 1_024;
/// When to look again after the store could not be read.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
/// How many changes are read at once.
const PAGE: i64 = 256;

/// A change, ready to be sent.
#[derive(Debug)]
pub struct Told {
    n: i64,
    post_id: PostId,
    sequence: Sequence,
    json: String,
}

/// Where listeners come.
#[derive(Debug, Clone)]
pub struct Live {
    store: Store,
    changes: broadcast::Sender<Arc<Told>>,
}

impl Live {
    /// A place to listen at; [`Live::run`] must run for anything to be heard.
    pub fn new(store: Store) -> Self {
        Self { store, changes: broadcast::Sender::new(BACKLOG) }
    }

    /// How many are listening.
    pub fn listeners(&self) -> usize {
        self.changes.receiver_count()
    }

    /// Tells changes until `stopping`.
    pub async fn run(self, stopping: CancellationToken) {
        let mut committed = self.store.committed();
        let mut last = None;
        loop {
            committed.mark_unchanged();
            match self.tell_new(last).await {
                Ok(n) => last = Some(n),
                Err(error) => {
                    tracing::warn!(%error, "changes cannot be read; trying again");
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => continue,
                    }
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = committed.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Tells what came after the `last` change; gives back the last one told.
    async fn tell_new(&self, last: Option<i64>) -> Result<i64, ReadError> {
        let Some(mut last) = last else {
            return self.store.read(store::last_change).await.map(|(n, _)| n);
        };
        loop {
            if self.listeners() == 0 {
                let (newest, _) = self.store.read(store::last_change).await?;
                // Still nobody: whoever comes from now on reads up to there from the store. Who came during the look
                // may have read before that change, and is told.
                if self.listeners() == 0 {
                    return Ok(newest);
                }
            }
            let page = self.read(last).await?;
            let Some(newest) = page.last().map(|told| told.n) else { return Ok(last) };
            last = newest;
            for told in page {
                // An error only says that the last listener has just left.
                let _ = self.changes.send(Arc::new(told));
            }
        }
    }

    async fn read(&self, after: i64) -> Result<Vec<Told>, ReadError> {
        self.store
            .read(move |c| {
                store::changes_after(c, after, PAGE)?.into_iter().map(|change| tell(c, change)).collect()
            })
            .await
    }

    /// Changes after an event, or from now on; of one post, or of all.
    pub async fn listen(
        &self,
        after: Option<Sequence>,
        post: Option<PostId>,
    ) -> Result<impl Stream<Item = Result<SseEvent, Infallible>> + use<>, ReadError> {
        // Listening begins before the look into the store, so that nothing falls between the two.
        let heard = self.changes.subscribe();
        let (last, begin) = self
            .store
            .read(move |c| {
                let (newest, sequence) = store::last_change(c)?;
                match after {
                    Some(after) => Ok((store::change_at(c, after)?.min(newest), after)),
                    None => Ok((newest, sequence)),
                }
            })
            .await?;
        let listener = Listener { live: self.clone(), heard, last, missed: true, waiting: Vec::new() };
        let changes = stream::unfold(listener, move |mut listener| {
            let post = post.clone();
            async move {
                loop {
                    let told = listener.next().await?;
                    if post.as_ref().is_none_or(|post| *post == told.post_id) {
                        let event = SseEvent::default().event("change").id(told.sequence.to_string());
                        return Some((Ok(event.data(&told.json)), listener));
                    }
                }
            }
        });
        // Said at once, so that the reader knows it is connected, and where to resume from.
        let hello = SseEvent::default().event("hello").id(begin.to_string()).data("{}");
        Ok(futures_util::StreamExt::chain(stream::iter([Ok(hello)]), changes))
    }
}

struct Listener {
    live: Live,
    heard: broadcast::Receiver<Arc<Told>>,
    last: i64,
    /// Whether there may be changes in the store that were not heard.
    missed: bool,
    /// Read from the store and not yet given out, newest first.
    waiting: Vec<Arc<Told>>,
}

impl Listener {
    async fn next(&mut self) -> Option<Arc<Told>> {
        loop {
            if let Some(told) = self.waiting.pop() {
                self.last = told.n;
                return Some(told);
            }
            if self.missed {
                match self.live.read(self.last).await {
                    Ok(page) if page.is_empty() => self.missed = false,
                    Ok(page) => self.waiting = page.into_iter().map(Arc::new).rev().collect(),
                    Err(error) => {
                        tracing::warn!(%error, "a listener cannot be told what it missed; it will come again");
                        return None;
                    }
                }
                continue;
            }
            match self.heard.recv().await {
                Ok(told) if told.n <= self.last => {}
                // A number is missing: it was told while nobody was thought to listen.
                Ok(told) if told.n > self.last + 1 => self.missed = true,
                Ok(told) => {
                    self.last = told.n;
                    return Some(told);
                }
                Err(RecvError::Lagged(_)) => self.missed = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// The change as everybody may see it, with what changed as it is now.
fn tell(c: &Connection, change: Change) -> rusqlite::Result<Told> {
    let (mut post, mut comment) = (None, None);
    match &change.comment_id {
        Some(id) => comment = store::comment(c, id)?.map(|comment| comment.view(None)),
        None => post = store::post(c, &change.post_id)?.map(|post| post.view()),
    }
    if let Some(post) = &mut post {
        post.body.clear();
    }
    let live = LiveChange { sequence: change.sequence, post_id: change.post_id.clone(), post, comment };
    let json =
        serde_json::to_string(&live).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    Ok(Told { n: change.n, post_id: change.post_id, sequence: change.sequence, json })
}
