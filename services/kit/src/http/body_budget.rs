//! A budget of memory for the bodies of requests: however many clients send at once, and however slowly, all bodies
//! together never take more.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// How many bytes of unanswered requests a server holds at the same time: a quarter of the least memory that the
/// manifests grant, since what is parsed from a body takes more memory than its bytes.
pub const BODY_BUDGET: usize = 32 * 1024 * 1024;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client sent broken framing, or left before the end.
    #[error("the client broke off its request: {0}")]
    Client(#[source] axum::Error),
    /// The server holds as many bodies as it may.
    #[error("the budget for request bodies is used up")]
    OverBudget,
}

impl BodyError {
    /// The body error among the causes of an error, where a request is passed on while its body still arrives.
    pub fn among_causes<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|cause| cause.downcast_ref())
    }
}

/// The bytes that are left. Clones share them.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<AtomicUsize>);

/// The part of the budget that one request holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: BodyBudget,
    held: AtomicUsize,
    exceeded: AtomicBool,
}

impl BodyBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// A reservation that holds nothing yet.
    pub(super) fn reserve(&self) -> Arc<Reservation> {
        Arc::new(Reservation {
            budget: self.clone(),
            held: AtomicUsize::new(0),
            exceeded: AtomicBool::new(false),
        })
    }
}

impl Reservation {
    /// The same body, whose bytes are reserved as they arrive. It ends with an error where none are left.
    pub(super) fn limit(self: &Arc<Self>, body: Body) -> Body {
        Body::new(LimitedBody { body, reservation: Arc::clone(self) })
    }

    /// Whether the body was cut off because the budget was used up.
    pub(super) fn was_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    fn grow(&self, bytes: usize) -> Result<(), BodyError> {
        let less = |left: usize| left.checked_sub(bytes);
        if self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            self.exceeded.store(true, Ordering::Relaxed);
            return Err(BodyError::OverBudget);
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.fetch_add(*self.held.get_mut(), Ordering::Relaxed);
    }
}

struct LimitedBody {
    body: Body,
    reservation: Arc<Reservation>,
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(BodyError::Client)?;
            self.reservation.grow(frame.data_ref().map_or(0, Bytes::len))?;
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
