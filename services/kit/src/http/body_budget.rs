//! A budget of memory for the bodies of requests: however many clients send at once, and however slowly, all bodies
//! together never take more, and those of one client never more than its share. A body that arrives too slowly is cut
//! off.

use super::ClientKey;
use super::minimum_rate::MinimumRate;
use super::shares::{Exceeded, Part, Shares};
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// How many bytes of unanswered requests a server holds at the same time: a quarter of the least memory that the
/// manifests grant, since what is parsed from a body takes more memory than its bytes.
pub const BODY_BUDGET: usize = 32 * 1024 * 1024;

/// The part of [`BODY_BUDGET`] that one client gets: 32 of the largest posts.
pub const CLIENT_BODY_BUDGET: usize = 8 * 1024 * 1024;

/// For how long a client may send nothing of a body that it has begun.
const GRACE: Duration = Duration::from_secs(10);

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client sent broken framing, or left before the end.
    #[error("the client broke off its request: {0}")]
    Client(#[source] axum::Error),
    /// The server holds as many bodies as it may.
    #[error("the budget for request bodies is used up")]
    OverBudget,
    /// The client sends too slowly.
    #[error("the request body arrives too slowly")]
    TooSlow,
}

impl BodyError {
    /// The body error among the causes of an error, where a request is passed on while its body still arrives.
    pub fn among_causes<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|cause| cause.downcast_ref())
    }
}

/// The bytes that are left. Clones share them.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    shares: Shares<ClientKey>,
    grace: Duration,
}

/// The part of the budget that one request holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    grace: Duration,
    part: Mutex<Part<ClientKey>>,
    cut_off: OnceLock<CutOff>,
}

/// Why a body was not read to its end, although its client goes on sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutOff {
    /// There is no memory for it.
    OverBudget(Exceeded),
    /// It arrives too slowly.
    TooSlow,
}

impl BodyBudget {
    /// So many bytes for all clients, of which one gets at most `of_one`.
    pub fn new(bytes: usize, of_one: usize) -> Self {
        Self { shares: Shares::new(bytes, of_one), grace: GRACE }
    }

    /// The same, with another time for which a client may send nothing.
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// A reservation that holds nothing yet.
    pub(super) fn reserve(&self, client: Option<ClientKey>) -> Arc<Reservation> {
        let part = Mutex::new(self.shares.part(client));
        Arc::new(Reservation { grace: self.grace, part, cut_off: OnceLock::new() })
    }
}

impl Reservation {
    /// The same body, whose bytes are reserved as they arrive. It ends with an error where none are left, or where it
    /// arrives too slowly.
    pub(super) fn limit(self: &Arc<Self>, body: Body) -> Body {
        let rate = MinimumRate::new(self.grace);
        Body::new(LimitedBody { body, rate, reservation: Arc::clone(self) })
    }

    /// Why the body was cut off, if it was.
    pub(super) fn cut_off(&self) -> Option<CutOff> {
        self.cut_off.get().copied()
    }

    fn grow(&self, bytes: usize) -> Result<(), BodyError> {
        let grown = self.part.lock().unwrap_or_else(PoisonError::into_inner).grow(bytes);
        grown.map_err(|exceeded| {
            let _ = self.cut_off.set(CutOff::OverBudget(exceeded));
            BodyError::OverBudget
        })
    }
}

struct LimitedBody {
    body: Body,
    rate: MinimumRate,
    reservation: Arc<Reservation>,
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            std::task::ready!(this.rate.poll_used_up(context));
            // The first reason counts.
            let _ = this.reservation.cut_off.set(CutOff::TooSlow);
            return Poll::Ready(Some(Err(BodyError::TooSlow)));
        };
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(BodyError::Client)?;
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            this.rate.progress(bytes);
            this.reservation.grow(bytes)?;
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
