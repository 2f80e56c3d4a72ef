//! Registers a service with the bus, and reports whether the bus delivers to it.

use crate::http::probes::ReadyFlag;
use crate::messaging::bus_client::BusClient;
use crate::messaging::inbox;
use crate::rt;
use crate::runtime::backoff::Backoff;
use crate::runtime::deps::Deps;
use crate::runtime::transport::TransportError;
use crate::store::{ReadError, Store};
use http::StatusCode;
use shared::Sequence;
use shared::bus::{Subscribe, Subscribed};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a consumer registers again, with its cursor: this is also how it finds out that the bus has lost events.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Registers a service, and keeps it registered.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// The name of the subscription: the service, and `/instance` where it is one of several replicas.
    pub name: String,
    /// The address of its `POST /events`.
    pub url: String,
    /// The store with its cursor.
    pub store: Store,
    /// Where it registers.
    pub bus: BusClient,
    /// Randomness for the backoff.
    pub deps: Deps,
    /// Cleared while the log has lost its tail, and until the service has caught up where it must.
    pub ready: ReadyFlag,
    /// When the service is ready.
    pub readiness: Readiness,
}

/// When a service that consumes events is ready to take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// At once: it does not answer from what it consumes.
    AtOnce,
    /// Once its store has caught up with the log: from an empty one, readers would see an empty site.
    /// A store with a history does not wait for a bus that cannot be reached.
    CaughtUp,
}

#[derive(Debug, thiserror::Error)]
enum SubscribeError {
    #[error("the cursor cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the bus cannot be reached: {0}")]
    Transport(#[from] TransportError),
    #[error(
        "the bus has lost events: this service has applied {cursor}, which the log no longer holds; restore the log"
    )]
    LostTail { cursor: Sequence },
    #[error("the bus answered {0}")]
    Refused(StatusCode),
    #[error("the answer of the bus is not valid: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Subscriber {
    /// Runs until `stopping`.
    pub async fn run(self, stopping: CancellationToken) {
        if self.readiness == Readiness::CaughtUp {
            self.ready.set(false, "is waiting for the event bus");
        } else {
            self.ready.set(true, "");
        }
        tokio::select! {
            biased;
            () = stopping.cancelled() => {}
            () = self.stay_subscribed() => {}
        }
    }

    async fn stay_subscribed(&self) {
        let mut attempts: u32 = 0;
        let mut first = true;
        let mut caught_up = self.readiness == Readiness::AtOnce;
        let has_history = self.store.read(inbox::cursor).await.is_ok_and(|cursor| cursor > Sequence::START);
        // Stays set while the bus cannot be reached: that does not mean that its log was restored.
        let mut lost_tail = false;
        loop {
            let wait = match self.subscribe(first).await {
                Ok((cursor, head)) => {
                    (attempts, lost_tail) = (0, false);
                    if std::mem::take(&mut first) && cursor == Sequence::START && head > Sequence::START {
                        tracing::warn!(
                            events = head.get(),
                            "the store is empty and the log is not: rebuilding it"
                        );
                    }
                    if !caught_up {
                        self.ready.set(false, "is catching up with the log");
                        caught_up = self.catches_up_with(head).await;
                        continue;
                    }
                    self.ready.set(true, "");
                    HEARTBEAT
                }
                Err(error) => {
                    attempts += 1;
                    if matches!(error, SubscribeError::LostTail { .. }) {
                        lost_tail = true;
                        tracing::error!(%error, "the bus delivers nothing until its log is restored");
                        self.ready.set(false, error.to_string());
                    } else {
                        if attempts.is_power_of_two() {
                            tracing::warn!(%error, attempts, "registering with the bus failed; trying again");
                        }
                        if !caught_up && has_history && !lost_tail {
                            caught_up = true;
                            self.ready.set(true, "");
                        }
                    }
                    Backoff::SERVICES.delay(attempts, self.deps.ids.random())
                }
            };
            rt::sleep(wait).await;
        }
    }

    /// Waits for a while until the store has applied `head`; returns whether it has.
    async fn catches_up_with(&self, head: Sequence) -> bool {
        let mut committed = self.store.committed();
        let reached = async {
            loop {
                committed.mark_unchanged();
                if self.store.read(inbox::cursor).await.is_ok_and(|cursor| cursor >= head) {
                    return true;
                }
                if committed.changed().await.is_err() {
                    return false;
                }
            }
        };
        rt::timeout(HEARTBEAT, reached).await.unwrap_or(false)
    }

    /// Registers with the consumer's cursor; returns that cursor and the end of the log.
    async fn subscribe(&self, started: bool) -> Result<(Sequence, Sequence), SubscribeError> {
        // The bus would otherwise go back to where the disk is behind. An error is logged by the store; the bus then
        // does go back.
        let _ = self.store.flush().await;
        let (cursor, last_id) = self.store.read(|c| Ok((inbox::cursor(c)?, inbox::last_id(c)?))).await?;
        let (name, url) = (self.name.clone(), self.url.clone());
        let request = Subscribe { name, url, cursor, last_id, batch: true, started };
        let body = serde_json::to_vec(&request)?;
        let answer = self.bus.post("/subscriptions", "application/json", body.into(), None).await?;
        match answer.status() {
            status if status.is_success() => {
                let subscribed: Subscribed = serde_json::from_slice(answer.body())?;
                Ok((cursor, subscribed.head))
            }
            StatusCode::CONFLICT => Err(SubscribeError::LostTail { cursor }),
            status => Err(SubscribeError::Refused(status)),
        }
    }
}
