//! Registration, removal and saving of subscribers, and one delivery task for each.

use crate::delivery::answer::Protocol;
use crate::delivery::machine::{Input, Registration};
use crate::delivery::{DeliveryTask, Ended, Subscription};
use crate::log::{EventLog, LogError};
use crate::store::{SavedSubscription, SubscriptionTable};
use kit::messaging::signature::SigningKey;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use kit::store::{SqlError, WriteError};
use shared::bus::{Subscribe, Subscribed, SubscriptionView, subscription_parts};
use shared::{Envelope, Sequence, ServiceName, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often cursors are saved. They may lag: the consumer's own cursor is authoritative.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The most subscribers.
const MAX_SUBSCRIPTIONS: usize = 256;
/// The most instances of one service, so that it cannot take the places of the others.
const MAX_INSTANCES: usize = 64;
/// An instance that has not registered for so long is forgotten: replicas come and go, and their cursor is theirs.
const FORGOTTEN_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;
/// How long a bus that has just started waits for registrations before it forgets anybody.
const GRACE_MS: i64 = 60 * 1_000;
/// How much later than saved an instance must have registered for that alone to be saved.
const SEEN_STEP_MS: i64 = 60 * 60 * 1_000;

/// How many events each subscriber has yet to acknowledge, by `subscriber`.
const LAG: &str = "subscription_lag_events";

/// Why a registration is refused.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The log does not hold the event that the consumer has applied last: it has lost its tail.
    #[error(
        "{name} has applied {cursor}, and the log, up to {head}, does not hold it: the log has lost its tail"
    )]
    LostTail { name: String, cursor: Sequence, head: Sequence },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the subscription cannot be saved: {0}")]
    Store(#[from] WriteError<SqlError>),
    #[error("there are {MAX_SUBSCRIPTIONS} subscriptions already")]
    TooMany,
    #[error(
        "{service} has {MAX_INSTANCES} instances already; delete one of a replica that no longer runs, or wait until it \
         is forgotten, a day after its last registration"
    )]
    TooManyInstances { service: String },
}

/// Why a subscription was not deleted. It goes on.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("the subscription cannot be deleted: {0}")]
    Store(WriteError<SqlError>),
    #[error("deleting the subscription panicked")]
    Panicked,
}

struct Running {
    subscription: Arc<Subscription>,
    end: CancellationToken,
}

/// The running delivery tasks, and the table that outlives them.
pub struct Subscriptions {
    log: Arc<dyn EventLog>,
    table: SubscriptionTable,
    deps: Deps,
    lifecycle: Lifecycle,
    keys: HashMap<ServiceName, SigningKey>,
    started_at: Timestamp,
    running: Mutex<BTreeMap<String, Running>>,
    /// What the table holds. Locked while the table changes, so that a save in progress cannot bring back a
    /// subscription that is being deleted.
    saved: tokio::sync::Mutex<BTreeMap<String, SavedSubscription>>,
}

impl std::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscriptions")
    }
}

impl Subscriptions {
    /// `keys` sign the deliveries to the services of these names.
    pub fn new(
        log: Arc<dyn EventLog>,
        table: SubscriptionTable,
        deps: Deps,
        lifecycle: Lifecycle,
        keys: HashMap<ServiceName, SigningKey>,
    ) -> Arc<Self> {
        let (running, saved) = (Mutex::default(), tokio::sync::Mutex::default());
        let started_at = deps.clock.now();
        Arc::new(Self { log, table, deps, lifecycle, keys, started_at, running, saved })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the delivery to a subscriber, from where it was saved.
    pub fn start(self: &Arc<Self>, saved: SavedSubscription, protocol: Protocol) {
        let name = saved.name.clone();
        let (service, _) = subscription_parts(&name);
        let key = service.parse().ok().and_then(|service: ServiceName| self.keys.get(&service).cloned());
        let (subscription, delivery) =
            DeliveryTask::new(saved, protocol, key, Arc::clone(&self.log), self.deps.clone());
        let end = self.lifecycle.stopping().child_token();
        let running = Running { subscription, end: end.clone() };
        if let Some(before) = self.lock().insert(name.clone(), running) {
            before.end.cancel();
        }
        let this = Arc::clone(self);
        // A task for each, so that no subscriber waits for another. A panic in it crashes the process: it is a bug, and
        // nobody would notice a delivery that ended silently.
        self.lifecycle.spawn_finite("delivery", async move {
            if delivery.run(end).await == Ended::Unsubscribed {
                tracing::warn!(subscriber = name, "the subscriber answered 410: unsubscribed");
                if let Err(error) = this.remove(&name).await {
                    tracing::error!(%error, subscriber = name, "the subscription could not be deleted");
                    this.lock().remove(&name);
                }
            }
        });
    }

    fn known(&self, name: &str) -> Option<Arc<Subscription>> {
        self.lock().get(name).map(|running| Arc::clone(&running.subscription))
    }

    /// Registers a consumer at its own cursor, or notes its heartbeat.
    pub async fn register(self: &Arc<Self>, request: Subscribe) -> Result<Subscribed, RegisterError> {
        let head = *self.log.head().borrow();
        let (known, now) = (self.known(&request.name), self.deps.clock.now());
        if let Some(subscription) = &known {
            subscription.seen(now);
        }
        let Subscribe { name, url, cursor, last_id, batch, started } = request;
        if cursor > head || !self.holds(cursor, last_id.as_deref()).await? {
            let lost = RegisterError::LostTail { name, cursor, head };
            tracing::error!(error = %lost, "deliveries are suspended until the log is restored");
            if let Some(subscription) = known {
                subscription.notify(Input::LostTail(lost.to_string()));
            }
            return Err(lost);
        }
        let registered = Input::Registered(Registration { url: url.clone(), cursor, batch, started });
        if let Some(subscription) = known {
            subscription.notify(registered);
        } else {
            self.has_room_for(&name)?;
            tracing::info!(subscriber = name, url, cursor = cursor.get(), "a new subscriber");
            let new = SavedSubscription { name: name.clone(), url, cursor, batch, seen_at: now };
            // Saved before the answer: a bus that crashed now would otherwise deliver nothing until the next heartbeat.
            let mut saved = self.saved.lock().await;
            // Another request of the same consumer may have been faster.
            if let Some(subscription) = self.known(&name) {
                subscription.notify(registered);
                return Ok(Subscribed { cursor, head });
            }
            self.table.save(vec![new.clone()]).await?;
            saved.insert(name, new.clone());
            self.start(new, Protocol::Native);
        }
        Ok(Subscribed { cursor, head })
    }

    fn has_room_for(&self, name: &str) -> Result<(), RegisterError> {
        let running = self.lock();
        if running.len() >= MAX_SUBSCRIPTIONS {
            return Err(RegisterError::TooMany);
        }
        let (service, Some(_)) = subscription_parts(name) else { return Ok(()) };
        let instances =
            running.values().filter(|running| running.subscription.instance_of() == Some(service));
        if instances.count() < MAX_INSTANCES {
            return Ok(());
        }
        Err(RegisterError::TooManyInstances { service: service.to_owned() })
    }

    /// Whether the log holds this event at this sequence. A log that was lost and has grown again holds another one.
    async fn holds(&self, cursor: Sequence, id: Option<&str>) -> Result<bool, RegisterError> {
        let (Some(id), Some(before)) = (id, cursor.previous()) else { return Ok(true) };
        let found = self.log.read(before, 1, usize::MAX).await?;
        let held = found.first().and_then(|event| serde_json::from_str::<Envelope>(&event.json).ok());
        Ok(held.is_some_and(|envelope| envelope.id.as_deref() == Some(id)))
    }

    /// Ends a subscription; returns whether there was one. Once begun it finishes, also where the caller goes away.
    pub async fn remove(self: &Arc<Self>, name: &str) -> Result<bool, RemoveError> {
        if self.known(name).is_none() {
            return Ok(false);
        }
        let (this, name) = (Arc::clone(self), name.to_owned());
        let removal = self.lifecycle.spawn_finite("unsubscribe", async move {
            let mut saved = this.saved.lock().await;
            // Delete from disk first: otherwise a failed deletion that was reported as done would reappear after a
            // restart.
            this.table.delete(name.clone()).await.map_err(RemoveError::Store)?;
            saved.remove(&name);
            let removed = this.lock().remove(&name);
            metrics::gauge!(LAG, "subscriber" => name).set(0);
            Ok(removed.map(|running| running.end.cancel()).is_some())
        });
        removal.await.ok().flatten().ok_or(RemoveError::Panicked)?
    }

    /// The rows of `GET /subscriptions`.
    pub async fn views(&self) -> Vec<SubscriptionView> {
        let all: Vec<_> = self.lock().values().map(|r| Arc::clone(&r.subscription)).collect();
        let head = *self.log.head().borrow();
        let mut views = Vec::with_capacity(all.len());
        for subscription in all {
            let mut view = subscription.view(head);
            if view.lag > 0 {
                let oldest = self.log.read(view.cursor, 1, 0).await;
                let oldest = oldest.ok().and_then(|events| events.first().map(|e| e.recorded_at));
                view.oldest_unacked_age_ms = oldest.map_or(0, |at| self.deps.clock.now().ms_since(at).max(0));
            }
            views.push(view);
        }
        views
    }

    /// Removes the instances that have not registered for a day.
    async fn forget_unseen(self: &Arc<Self>) {
        let now = self.deps.clock.now();
        if now.ms_since(self.started_at) < GRACE_MS {
            return;
        }
        let unseen: Vec<_> = {
            let running = self.lock();
            let instances = running.values().map(|r| &r.subscription).filter(|s| s.instance_of().is_some());
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
    pub async fn keep_saved(self: Arc<Self>, stopping: CancellationToken) {
        let mut last = false;
        while !last {
            tokio::select! {
                biased;
                () = stopping.cancelled() => last = true,
                () = kit::rt::sleep(SAVE_EVERY) => {}
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
            match self.table.save_lazily(moved.clone()).await {
                Ok(()) => saved.extend(moved.into_iter().map(|s| (s.name.clone(), s))),
                Err(error) => tracing::warn!(%error, "the subscribers' cursors could not be saved"),
            }
        }
    }
}

/// Whether a subscription has to be saved again. Not for each heartbeat.
fn has_moved(saved: Option<&SavedSubscription>, current: &SavedSubscription) -> bool {
    let Some(saved) = saved else { return true };
    let seen_at = saved.seen_at;
    current.seen_at.ms_since(seen_at) >= SEEN_STEP_MS
        || *saved != SavedSubscription { seen_at, ..current.clone() }
}

#[cfg(test)]
mod tests;
