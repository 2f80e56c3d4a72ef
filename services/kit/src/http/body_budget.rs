//! Room for the bodies of requests: so much memory and no more, however many clients send at once, and however slowly.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// How many bytes of unanswered requests a server holds at the same time: a quarter of the least memory that the
/// manifests grant, since what is read from a body costs more than its bytes.
pub const BODY_BUDGET: usize = 32 * 1024 * 1024;

/// What is left of the room.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<AtomicUsize>);

/// What one request takes of it, until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    room: BodyBudget,
    taken: AtomicUsize,
    refused: AtomicBool,
}

impl BodyBudget {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// A reservation that is empty yet.
    pub(super) fn reserve(&self) -> Arc<Reservation> {
        Arc::new(Reservation {
            room: self.clone(),
            taken: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
        })
    }
}

impl Reservation {
    /// The same body, whose bytes take their room as they arrive. Where there is none left, it ends with an error.
    pub(super) fn of(self: &Arc<Self>, body: Body) -> Body {
        Body::new(Measured { body, reservation: Arc::clone(self) })
    }

    /// Whether there was too little room.
    pub(super) fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let taken = self.room.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if taken {
            self.taken.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.refused.store(true, Ordering::Relaxed);
        }
        taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.room.0.fetch_add(*self.taken.get_mut(), Ordering::Relaxed);
    }
}

/// A body that is measured.
struct Measured {
    body: Body,
    reservation: Arc<Reservation>,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && !self.reservation.take(frame.data_ref().map_or(0, Bytes::len))
        {
            return Poll::Ready(Some(Err(axum::Error::new("there is no room for this body"))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
