//! Registration and removal of subscribers, and one delivery task for each.
//!
//! Of several replicas of the bus on one database, one delivers (`leader`). The others take registrations and removals, too
//! (`follower`): they change the table, and the leader follows it.

mod follower;
mod leader;

use crate::delivery::answer::Protocol;
use crate::delivery::machine::{Input, Registration};
use crate::delivery::{DeliveryTask, Ended, Subscription};
use crate::log::{EventLog, LogError};
use crate::registration::Rules;
use crate::store::{SavedSubscription, SubscriptionTable};
use kit::messaging::signature::SigningKey;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use kit::store::{ReadError, SqlError, WriteError};
use shared::bus::{Subscribe, Subscribed, SubscriptionView, subscription_parts};
use shared::{Envelope, Sequence, ServiceName};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// The most subscribers.
const MAX_SUBSCRIPTIONS: usize = 256;
/// The most instances of one service, so that it cannot take the places of the others.
const MAX_INSTANCES: usize = 64;
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
    #[error("the subscriptions cannot be read: {0}")]
    Read(#[from] ReadError),
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
    Store(#[from] WriteError<SqlError>),
    #[error("the subscriptions cannot be read: {0}")]
    Read(#[from] ReadError),
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
    rules: Rules,
    /// Whether this replica delivers. Changes only while `saved` is locked.
    leads: AtomicBool,
    /// When it began to, in milliseconds.
    begun_at: AtomicI64,
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
    /// `keys` sign the deliveries to the services of these names; `rules` say which saved subscriptions go on.
    pub fn new(
        log: Arc<dyn EventLog>,
        table: SubscriptionTable,
        deps: Deps,
        lifecycle: Lifecycle,
        keys: HashMap<ServiceName, SigningKey>,
        rules: Rules,
    ) -> Arc<Self> {
        let (running, saved) = (Mutex::default(), tokio::sync::Mutex::default());
        let (leads, begun_at) = (AtomicBool::new(false), AtomicI64::new(0));
        Arc::new(Self { log, table, deps, lifecycle, keys, rules, leads, begun_at, running, saved })
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the delivery to a subscriber, from where it was saved.
    fn start(self: &Arc<Self>, saved: SavedSubscription, protocol: Protocol) {
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
        if request.cursor > *self.log.head().borrow() {
            self.log.refresh().await?;
        }
        let head = *self.log.head().borrow();
        let (known, now) = (self.known(&request.name), self.deps.clock.now());
        if let Some(subscription) = &known {
            subscription.seen(now);
        }
        let Subscribe { name, url, cursor, last_id, batch, started } = request;
        if cursor > head || !self.holds(cursor, last_id.as_deref()).await? {
            let lost = RegisterError::LostTail { name: name.clone(), cursor, head };
            tracing::error!(error = %lost, "deliveries are suspended until the log is restored");
            match known {
                Some(subscription) => subscription.notify(Input::LostTail(lost.to_string())),
                None => self.note_lost_tail(name, lost.to_string()).await?,
            }
            return Err(lost);
        }
        let new = Registration { url, cursor, batch, started };
        if let Some(subscription) = known {
            subscription.notify(Input::Registered(new));
            return Ok(Subscribed { cursor, head });
        }
        if !self.leads() {
            self.note_registration(name, new, now).await?;
            return Ok(Subscribed { cursor, head });
        }
        // Saved before the answer: a bus that crashed now would otherwise deliver nothing until the next heartbeat.
        let mut saved = self.saved.lock().await;
        // Another request of the same consumer may have been faster.
        if let Some(subscription) = self.known(&name) {
            subscription.notify(Input::Registered(new));
            return Ok(Subscribed { cursor, head });
        }
        has_room_for(&name, self.lock().keys())?;
        let url = new.url;
        tracing::info!(subscriber = name, url, cursor = cursor.get(), "a new subscriber");
        let new = SavedSubscription::new(name.clone(), url, cursor, batch, now);
        self.table.insert(new.clone()).await?;
        // Where another replica delivers by now, it finds the subscriber in the table.
        if self.leads() {
            saved.insert(name, new.clone());
            self.start(new, Protocol::Native);
        }
        Ok(Subscribed { cursor, head })
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
        if self.known(name).is_none() && (self.leads() || self.table.one(name).await?.is_none()) {
            return Ok(false);
        }
        let (this, name) = (Arc::clone(self), name.to_owned());
        let removal = self.lifecycle.spawn_finite("unsubscribe", async move {
            let mut saved = this.saved.lock().await;
            // Delete from disk first: otherwise a failed deletion that was reported as done would reappear after a
            // restart.
            this.table.delete(name.clone()).await?;
            saved.remove(&name);
            this.end(&name);
            Ok(true)
        });
        removal.await.ok().flatten().ok_or(RemoveError::Panicked)?
    }

    fn end(&self, name: &str) {
        if let Some(running) = self.lock().remove(name) {
            running.end.cancel();
        }
        metrics::gauge!(LAG, "subscriber" => name.to_owned()).set(0);
    }

    /// The rows of `GET /subscriptions`. A replica that does not deliver has those that the one that does has saved.
    pub async fn views(&self) -> Result<Vec<SubscriptionView>, ReadError> {
        let head = *self.log.head().borrow();
        let mut views: Vec<_> = if self.leads() {
            self.lock().values().map(|running| running.subscription.view(head)).collect()
        } else {
            self.table.all().await?.into_iter().map(|saved| saved.view(head)).collect()
        };
        for view in views.iter_mut().filter(|view| view.lag > 0) {
            let oldest = self.log.read(view.cursor, 1, 0).await;
            let oldest = oldest.ok().and_then(|events| events.first().map(|e| e.recorded_at));
            view.oldest_unacked_age_ms = oldest.map_or(0, |at| self.deps.clock.now().ms_since(at).max(0));
        }
        Ok(views)
    }
}

fn has_room_for<'a>(name: &str, others: impl Iterator<Item = &'a String>) -> Result<(), RegisterError> {
    let (service, instance) = subscription_parts(name);
    let (mut all, mut instances) = (0, 0);
    for (other, is_instance) in others.map(|other| subscription_parts(other)).map(|(s, i)| (s, i.is_some())) {
        all += 1;
        instances += usize::from(is_instance && other == service);
    }
    if all >= MAX_SUBSCRIPTIONS {
        return Err(RegisterError::TooMany);
    }
    if instance.is_some() && instances >= MAX_INSTANCES {
        return Err(RegisterError::TooManyInstances { service: service.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
