//! How far this replica has read the log, for readers who come from another one: their pages must not go back in time.
//!
//! One of several replicas says with each answer up to which event that is up to date; a request may name the event up to
//! which its answer has to be, and waits until this replica is as far.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue};
use kit::http::{ApiError, ApiResult};
use kit::messaging::inbox;
use kit::rt;
use kit::store::{ReadError, Store};
use shared::views::{MIN_SEQUENCE_HEADER, SEQUENCE_HEADER};
use shared::{ProblemKind, Sequence};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long an answer waits.
const WAIT: Duration = Duration::from_secs(2);
/// How long a stream waits.
const STREAM_WAIT: Duration = Duration::from_secs(5);
/// The most requests that wait at the same time: a quarter of the connections.
const MAX_WAITING: usize = 1_024;

#[derive(Debug, Clone)]
pub struct Replica {
    store: Store,
    is_one_of_several: bool,
    /// The last event that was applied, while somebody waits for one.
    applied: watch::Sender<Sequence>,
    stopping: CancellationToken,
}

/// The event up to which the answer has to be up to date, at least.
pub(crate) fn minimum(headers: &HeaderMap) -> ApiResult<Sequence> {
    let Some(value) = headers.get(MIN_SEQUENCE_HEADER) else { return Ok(Sequence::START) };
    let minimum = value.to_str().ok().and_then(|text| text.parse().ok());
    minimum.ok_or_else(|| {
        let detail =
            format!("{MIN_SEQUENCE_HEADER} must be a place of the log: a number of at most 20 digits");
        ApiError::new(ProblemKind::BadRequest).detail(detail)
    })
}

impl Replica {
    /// Requests wait only while [`Replica::run`] runs, and until `stopping`.
    pub fn new(store: Store, is_one_of_several: bool, stopping: CancellationToken) -> Self {
        Self { store, is_one_of_several, applied: watch::Sender::new(Sequence::START), stopping }
    }

    /// Tells those who wait how far the store is after each commit: read once for all of them.
    pub async fn run(self) {
        let mut committed = self.store.committed();
        loop {
            let changed = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                changed = committed.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            // Whoever comes from now on reads the store first.
            if self.applied.receiver_count() == 0 {
                continue;
            }
            match self.store.read(inbox::cursor).await {
                Ok(cursor) => drop(self.applied.send_replace(cursor)),
                Err(error) => {
                    tracing::warn!(%error, "cannot read how far the read model is; trying again after the next commit");
                }
            }
        }
    }

    /// An answer that is up to date up to this event. Only one of several replicas says so.
    pub(crate) fn up_to_date(&self, mut response: Response, sequence: Sequence) -> Response {
        if self.is_one_of_several {
            name_sequence(&mut response, sequence);
        }
        response
    }

    /// Waits until the event `minimum` is applied. What to answer where it is not in time.
    pub(crate) async fn behind(&self, minimum: Sequence) -> ApiResult<Option<Response>> {
        self.behind_after(minimum, WAIT).await
    }

    /// The same for a stream that goes on after an event. Otherwise a client that comes from a replica that is further
    /// would receive states that it has left behind.
    pub(crate) async fn behind_stream(
        &self,
        after: Option<Sequence>,
        minimum: Sequence,
    ) -> ApiResult<Option<Response>> {
        self.behind_after(minimum.max(after.unwrap_or_default()), STREAM_WAIT).await
    }

    async fn behind_after(&self, minimum: Sequence, wait: Duration) -> ApiResult<Option<Response>> {
        // Whoever has seen more than the only replica has seen it of another log.
        if !self.is_one_of_several || minimum == Sequence::START || self.reaches(minimum, wait).await? {
            return Ok(None);
        }
        let error = ApiError::new(ProblemKind::Unavailable)
            .detail(format!("this replica has not read the log up to {minimum} yet; try again"));
        let mut response = error.into_response();
        // It says that the minimum, and not the service, is at fault.
        name_sequence(&mut response, self.store.read(inbox::cursor).await?);
        Ok(Some(response))
    }

    async fn reaches(&self, place: Sequence, wait: Duration) -> Result<bool, ReadError> {
        // Before the store is read, so that no commit falls between the two.
        let mut applied = self.applied.subscribe();
        if self.store.read(inbox::cursor).await? >= place {
            return Ok(true);
        }
        if self.applied.receiver_count() > MAX_WAITING {
            return Ok(false);
        }
        let reached = rt::timeout(wait, applied.wait_for(|applied| *applied >= place));
        Ok(tokio::select! {
            biased;
            () = self.stopping.cancelled() => false,
            reached = reached => matches!(reached, Ok(Ok(_))),
        })
    }
}

fn name_sequence(response: &mut Response, sequence: Sequence) {
    if let Ok(value) = HeaderValue::from_str(&sequence.to_string()) {
        response.headers_mut().insert(SEQUENCE_HEADER, value);
    }
}
