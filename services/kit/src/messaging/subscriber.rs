//! How a service makes itself known to the bus, and knows whether it is being served.

use crate::http::probes::ReadyFlag;
use crate::messaging::bus_client::BusClient;
use crate::messaging::inbox;
use crate::runtime::backoff::Backoff;
use crate::runtime::deps::Deps;
use crate::runtime::transport::TransportError;
use crate::store::{ReadError, Store};
use http::StatusCode;
use shared::views::{Subscribe, Subscribed};
use shared::{Sequence, ServiceName};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a consumer says that it is there, and from where it goes on: this is also how it finds out that the
/// bus has lost events.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Subscribes a service, and keeps it subscribed.
#[derive(Debug)]
pub struct Subscriber {
    /// Who subscribes.
    pub name: ServiceName,
    /// Where it takes deliveries: the address of its `POST /events`.
    pub url: String,
    /// Where its cursor is.
    pub store: Store,
    /// The bus.
    pub bus: BusClient,
    /// Randomness for the backoff.
    pub deps: Deps,
    /// Set to ready while it is served.
    pub ready: ReadyFlag,
    /// Whether the store must first catch up before the service may say that it is ready. One that has a history
    /// need not wait for a bus that is away.
    pub history_first: bool,
}

#[derive(Debug, thiserror::Error)]
enum SubscribeError {
    #[error("the cursor cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the bus cannot be reached: {0}")]
    Transport(#[from] TransportError),
    #[error(
        "the bus has lost events: this service has applied {cursor}, which the log does not hold (any more)"
    )]
    LostTail { cursor: Sequence },
    #[error("the bus answered {0}")]
    Refused(StatusCode),
    #[error("the answer of the bus cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Subscriber {
    /// Runs until `stopping`.
    pub async fn run(self, stopping: CancellationToken) {
        if self.history_first {
            self.ready.set(false, "has not yet heard from the event bus");
        } else {
            self.ready.set(true, "");
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.stay_subscribed() => {}
        }
    }

    async fn stay_subscribed(&self) {
        let mut attempts: u32 = 0;
        let mut first = true;
        let mut caught_up = !self.history_first;
        let has_history = self.store.read(inbox::cursor).await.is_ok_and(|cursor| cursor > Sequence::START);
        // A log that has lost events has not found them again because the bus is away.
        let mut lost_tail = false;
        loop {
            let wait = match self.subscribe(first).await {
                Ok((cursor, head)) => {
                    (attempts, lost_tail) = (0, false);
                    if std::mem::take(&mut first) && cursor == Sequence::START && head > Sequence::START {
                        tracing::warn!(
                            events = head.get(),
                            "the store is empty and the log is not: refilling it"
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
                        tracing::error!(%error, "not served until the log is restored");
                        self.ready.set(false, error.to_string());
                    } else {
                        if attempts == 1 || attempts.is_power_of_two() {
                            tracing::warn!(%error, attempts, "subscribing failed; trying again");
                        }
                        if !caught_up && has_history && !lost_tail {
                            caught_up = true;
                            self.ready.set(true, "");
                        }
                    }
                    Backoff::SERVICES.delay(attempts, self.deps.ids.random())
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Waits until the store has come to `head`, for a while; says whether it has.
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
        tokio::time::timeout(HEARTBEAT, reached).await.unwrap_or(false)
    }

    /// Tells the bus where this consumer stands; gives back that place and the end of the log.
    async fn subscribe(&self, started: bool) -> Result<(Sequence, Sequence), SubscribeError> {
        let (cursor, last_id) = self.store.read(|c| Ok((inbox::cursor(c)?, inbox::last_id(c)?))).await?;
        let (name, url) = (self.name.to_string(), self.url.clone());
        let request = Subscribe { name, url, cursor, last_id, batch: true, started };
        let body = serde_json::to_vec(&request)?;
        let answer = self.bus.post("/subscriptions", "application/json", body.into()).await?;
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
