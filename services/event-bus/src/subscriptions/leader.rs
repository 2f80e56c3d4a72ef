//! What the replica does that delivers: it runs the deliveries, saves how far they are, follows what other replicas note, and
//! forgets instances that are gone.

use super::{LAG, SEEN_STEP_MS, Subscriptions};
use crate::delivery::answer::Protocol;
use crate::log::LogError;
use crate::registration::Restored;
use crate::store::SavedSubscription;
use kit::rt;
use kit::store::{Leadership, ReadError, SqlError, WriteError};
use shared::Sequence;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often cursors are saved. They may lag: the consumer's own cursor is authoritative.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The least time between two looks at what other replicas note: the table is read whole.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// How long a replica that is to deliver waits where the table cannot be read.
const RETRY: Duration = Duration::from_secs(1);
/// An instance that has not registered for so long is forgotten: replicas come and go, and their cursor is theirs.
const FORGOTTEN_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;
/// How long a bus that has just begun to deliver waits for registrations before it forgets anybody.
const GRACE_MS: i64 = 60 * 1_000;

/// Why this replica cannot begin to deliver.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error("the subscriptions cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the subscriptions cannot be saved: {0}")]
    Write(#[from] WriteError<SqlError>),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Subscriptions {
    /// Starts the deliveries to all subscribers: those that were saved and that the settings allow, and those that the settings
    /// name.
    pub async fn begin(self: &Arc<Self>) -> Result<(), BeginError> {
        let mut saved = self.saved.lock().await;
        // A cursor that another replica has saved must not be taken for one beyond the end of the log.
        self.log.refresh().await?;
        for subscription in self.table.all().await? {
            // What the settings change is saved again.
            saved.insert(subscription.name.clone(), subscription.clone());
            let (subscription, protocol) = match self.rules.restore(subscription) {
                Restored::Native(subscription) => (subscription, Protocol::Native),
                Restored::Plain(subscription) => (subscription, Protocol::Plain),
                Restored::Refused(SavedSubscription { name, url, .. }) => {
                    tracing::warn!(
                        subscriber = name,
                        url,
                        "unsubscribed: the settings no longer allow this subscriber"
                    );
                    saved.remove(&name);
                    self.table.delete(name).await?;
                    continue;
                }
            };
            self.start(subscription, protocol);
        }
        for (name, url) in self.rules.course() {
            if self.known(name).is_none() {
                let now = self.deps.clock.now();
                let new = SavedSubscription::new(name.clone(), url.clone(), Sequence::START, false, now);
                self.table.insert(new.clone()).await?;
                saved.insert(name.clone(), new.clone());
                self.start(new, Protocol::Plain);
            }
        }
        self.begun_at.store(self.deps.clock.now().unix_ms(), Ordering::SeqCst);
        self.leads.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Delivers whenever this replica leads. `begun` is its leadership where it has begun already.
    pub async fn run(self: Arc<Self>, mut begun: Option<Leadership>, stopping: CancellationToken) {
        loop {
            let leadership = match begun.take() {
                Some(leadership) => leadership,
                None => match stopping.run_until_cancelled(self.take_over()).await {
                    Some(leadership) => leadership,
                    None => return,
                },
            };
            tokio::select! {
                biased;
                () = leadership.lost() => {}
                () = self.keep_saved(&stopping) => return,
                () = self.follow_the_table() => {}
            }
            tracing::warn!("another replica may deliver: deliveries end here");
            self.step_down().await;
        }
    }

    /// Waits until this replica leads, and has begun.
    async fn take_over(self: &Arc<Self>) -> Leadership {
        loop {
            let leadership = self.table.lead().await;
            match self.begin().await {
                Ok(()) => return leadership,
                Err(error) => {
                    tracing::warn!(%error, "deliveries cannot begin; trying again");
                    self.step_down().await;
                    drop(leadership);
                    rt::sleep(RETRY).await;
                }
            }
        }
    }

    async fn step_down(&self) {
        let mut saved = self.saved.lock().await;
        self.leads.store(false, Ordering::SeqCst);
        saved.clear();
        let names: Vec<_> = self.lock().keys().cloned().collect();
        for name in names {
            self.end(&name);
        }
    }

    /// Follows what other replicas note. Ends where nothing can be noted any more.
    async fn follow_the_table(self: &Arc<Self>) {
        if !self.table.is_shared() {
            return std::future::pending().await;
        }
        let mut committed = self.table.committed();
        loop {
            committed.mark_unchanged();
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "what other replicas note cannot be read");
            }
            rt::sleep(LOOK_PAUSE).await;
            if committed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn look(self: &Arc<Self>) -> Result<(), BeginError> {
        let mut saved = self.saved.lock().await;
        let rows = self.table.all().await?;
        let names: BTreeSet<_> = rows.iter().map(|row| row.name.clone()).collect();
        let removed: Vec<_> = self.lock().keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in removed {
            tracing::info!(subscriber = name, "unsubscribed at another replica");
            saved.remove(&name);
            self.end(&name);
        }
        for row in rows {
            if let Some(subscription) = self.known(&row.name) {
                subscription.take_over(&row);
                continue;
            }
            // Its cursor may be beyond what this replica has seen of the log.
            self.log.refresh().await?;
            saved.insert(row.name.clone(), row.clone());
            self.start(row, Protocol::Native);
        }
        Ok(())
    }

    /// Removes the instances that have not registered for a day.
    async fn forget_unseen(self: &Arc<Self>) {
        let now = self.deps.clock.now();
        if now.unix_ms() - self.begun_at.load(Ordering::SeqCst) < GRACE_MS {
            return;
        }
        let unseen: Vec<_> = {
            let running = self.lock();
            let instances = running.values().map(|r| &r.subscription).filter(|s| s.is_instance());
            let saved = instances.map(|subscription| subscription.to_save());
            saved.filter(|s| now.ms_since(s.seen_at) > FORGOTTEN_AFTER_MS).collect()
        };
        for SavedSubscription { name, url, .. } in unseen {
            match self.remove(&name).await {
                Ok(_) => tracing::info!(subscriber = name, url, "forgotten: it has not registered for a day"),
                Err(error) => tracing::warn!(%error, subscriber = name, "an instance could not be forgotten"),
            }
        }
    }

    /// Every second, saves the cursors that have moved (also at the stop) and forgets instances.
    async fn keep_saved(self: &Arc<Self>, stopping: &CancellationToken) {
        let mut last = false;
        while !last {
            tokio::select! {
                biased;
                () = stopping.cancelled() => last = true,
                () = rt::sleep(SAVE_EVERY) => {}
            }
            if !last {
                self.forget_unseen().await;
            }
            let mut saved = self.saved.lock().await;
            let current: Vec<_> = self.lock().values().map(|r| r.subscription.to_save()).collect();
            let head = self.log.head().borrow().get();
            for subscription in &current {
                let lag = (head - subscription.cursor.get()) as f64;
                metrics::gauge!(LAG, "subscriber" => subscription.name.clone()).set(lag);
            }
            let moved: Vec<_> = current.into_iter().filter(|s| has_moved(saved.get(&s.name), s)).collect();
            if moved.is_empty() {
                continue;
            }
            match self.table.update_lazily(moved.clone()).await {
                Ok(()) => saved.extend(moved.into_iter().map(|s| (s.name.clone(), s))),
                Err(error) => tracing::warn!(%error, "the subscribers' cursors could not be saved"),
            }
        }
    }
}

/// Whether a subscription has to be saved again. Not for each heartbeat.
fn has_moved(saved: Option<&SavedSubscription>, current: &SavedSubscription) -> bool {
    let Some(saved) = saved else { return true };
    let (seen_at, started) = (saved.seen_at, saved.started);
    current.seen_at.ms_since(seen_at) >= SEEN_STEP_MS
        || *saved != SavedSubscription { seen_at, started, ..current.clone() }
}
