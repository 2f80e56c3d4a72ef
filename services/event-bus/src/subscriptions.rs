//! All subscribers: who they are, and one delivery task for each.

use crate::delivery::Subscription;
use crate::domain::Protocol;
use crate::log::EventLog;
use crate::store::{SavedSubscription, SqliteLog};
use kit::messaging::signature::SigningKey;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use shared::bus::{Subscribe, Subscribed, SubscriptionView};
use shared::{Envelope, Sequence, ServiceName};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often cursors are saved. They may lag: the consumer's own cursor is the truth.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The most subscribers.
const MAX_SUBSCRIPTIONS: usize = 256;

/// Why a registration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The log does not hold what the consumer has applied last: it has lost its tail.
    #[error(
        "{name} has applied {cursor}, and the log, up to {head}, does not hold it: the log has lost its tail"
    )]
    LostTail {
        /// The consumer.
        name: String,
        /// What it has applied last.
        cursor: Sequence,
        /// What the log holds.
        head: Sequence,
    },
    /// The log cannot be read, or the subscription not be saved, at the moment.
    #[error("the log is not available: {0}")]
    Log(String),
    /// No more subscribers are taken.
    #[error("there are {MAX_SUBSCRIPTIONS} subscriptions already")]
    TooMany,
}

struct Running {
    subscription: Arc<Subscription>,
    end: CancellationToken,
}

/// All subscribers.
pub struct Subscriptions {
    log: SqliteLog,
    deps: Deps,
    lifecycle: Lifecycle,
    keys: HashMap<ServiceName, SigningKey>,
    running: Mutex<BTreeMap<String, Running>>,
    /// What the file holds of each. Locked while the file is changed, so that whoever unsubscribes during a save is
    /// forgotten after it.
    saved: tokio::sync::Mutex<BTreeMap<String, SavedSubscription>>,
}

impl std::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscriptions")
    }
}

impl Subscriptions {
    /// No subscribers yet; `keys` sign deliveries to the services of these names.
    pub fn new(
        log: SqliteLog,
        deps: Deps,
        lifecycle: Lifecycle,
        keys: HashMap<ServiceName, SigningKey>,
    ) -> Arc<Self> {
        Arc::new(Self {
            log,
            deps,
            lifecycle,
            keys,
            running: Mutex::default(),
            saved: tokio::sync::Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts delivering to a subscriber that goes on from where it was saved.
    pub fn start(self: &Arc<Self>, saved: SavedSubscription, protocol: Protocol) {
        let name = saved.name.clone();
        let key = name.parse().ok().and_then(|service: ServiceName| self.keys.get(&service).cloned());
        let head = *self.log.head().borrow();
        let (cursor, subscription) = (saved.cursor, Arc::new(Subscription::new(saved, protocol, key)));
        if cursor > head {
            let why = format!("has applied {cursor}, and the log ends at {head}: the log has lost its tail");
            tracing::error!(subscriber = name, error = why, "delivering nothing until the log is restored");
            subscription.hold(why);
        }
        let end = self.lifecycle.stopping().child_token();
        let running = Running { subscription: Arc::clone(&subscription), end: end.clone() };
        if let Some(before) = self.lock().insert(name.clone(), running) {
            before.end.cancel();
        }
        let this = Arc::clone(self);
        // A task of its own for each, so that no subscriber waits for another. It may end before the stop (410,
        // or unsubscribed), which a task of the lifecycle must not.
        tokio::spawn(async move {
            let log: Arc<dyn EventLog> = Arc::new(this.log.clone());
            if subscription.deliver(log, this.deps.clone(), end).await {
                tracing::warn!(subscriber = name, "the subscriber wants no more events: unsubscribed");
                this.remove(&name).await;
            }
        });
    }

    fn known(&self, name: &str) -> Option<Arc<Subscription>> {
        self.lock().get(name).map(|running| Arc::clone(&running.subscription))
    }

    /// A consumer says that it is there, and where it stands.
    pub async fn register(self: &Arc<Self>, request: Subscribe) -> Result<Subscribed, RegisterError> {
        let head = *self.log.head().borrow();
        let known = self.known(&request.name);
        let Subscribe { name, url, cursor, last_id, batch } = request;
        if cursor > head || !self.holds(cursor, last_id.as_deref()).await? {
            let lost = RegisterError::LostTail { name, cursor, head };
            tracing::error!(error = %lost, "delivering nothing until the log is restored");
            if let Some(subscription) = known {
                subscription.hold(lost.to_string());
            }
            return Err(lost);
        }
        if let Some(subscription) = known {
            subscription.register(url, cursor, batch);
        } else {
            if self.lock().len() >= MAX_SUBSCRIPTIONS {
                return Err(RegisterError::TooMany);
            }
            tracing::info!(subscriber = name, url, cursor = cursor.get(), "a new subscriber");
            let new = SavedSubscription { name: name.clone(), url, cursor, batch };
            // Remembered before it is answered: a bus that dies now would deliver nothing until the consumer, who
            // knows of no restart, says again that it is there.
            let mut saved = self.saved.lock().await;
            // The same consumer may have asked twice, and the other been first.
            if let Some(subscription) = self.known(&name) {
                subscription.register(new.url, cursor, batch);
                return Ok(Subscribed { cursor, head });
            }
            self.log.save(vec![new.clone()]).await.map_err(|e| RegisterError::Log(e.to_string()))?;
            saved.insert(name, new.clone());
            self.start(new, Protocol::Native);
        }
        Ok(Subscribed { cursor, head })
    }

    /// Whether the log holds this event at this place. A log that was lost and has grown again holds another one.
    async fn holds(&self, cursor: Sequence, id: Option<&str>) -> Result<bool, RegisterError> {
        let (Some(id), Some(before)) = (id, cursor.previous()) else { return Ok(true) };
        let found =
            self.log.read(before, 1, usize::MAX).await.map_err(|e| RegisterError::Log(e.to_string()))?;
        let held = found.first().and_then(|event| serde_json::from_str::<Envelope>(&event.json).ok());
        Ok(held.is_some_and(|envelope| envelope.id.as_deref() == Some(id)))
    }

    /// Ends a subscription; says whether there was one.
    pub async fn remove(&self, name: &str) -> bool {
        let removed = self.lock().remove(name);
        if let Some(running) = &removed {
            running.end.cancel();
            let mut saved = self.saved.lock().await;
            saved.remove(name);
            if let Err(error) = self.log.forget(name.to_owned()).await {
                tracing::error!(%error, subscriber = name, "a subscription could not be forgotten");
            }
        }
        removed.is_some()
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

    /// Saves cursors that have moved, until `stopping` and once more then.
    pub async fn keep_saved(self: Arc<Self>, stopping: CancellationToken) {
        let mut last = false;
        while !last {
            tokio::select! {
                () = stopping.cancelled() => last = true,
                () = tokio::time::sleep(SAVE_EVERY) => {}
            }
            let mut saved = self.saved.lock().await;
            let current: Vec<_> = self.lock().values().map(|r| r.subscription.to_save()).collect();
            let head = self.log.head().borrow().get();
            for subscription in &current {
                let lag = (head - subscription.cursor.get()) as f64;
                metrics::gauge!("subscription_lag_events", "subscriber" => subscription.name.clone())
                    .set(lag);
            }
            let moved: Vec<_> = current.into_iter().filter(|s| saved.get(&s.name) != Some(s)).collect();
            if moved.is_empty() {
                continue;
            }
            match self.log.save(moved.clone()).await {
                Ok(()) => saved.extend(moved.into_iter().map(|s| (s.name.clone(), s))),
                Err(error) => tracing::warn!(%error, "the subscribers' cursors could not be saved"),
            }
        }
    }
}
