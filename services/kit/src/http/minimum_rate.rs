//! How slowly a client may send or read.

use crate::rt::{self, Instant, Sleep};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes in a second: less than the slowest modem sends, and enough that nobody holds a place for long.
pub(super) const MINIMUM_RATE: u32 = 1024;

/// The time that a client has left. Only waiting for the client uses it up; each byte that arrives, or that the client
/// takes, gives some back, up to what there was at first.
pub(super) struct MinimumRate {
    grace: Duration,
    left: Duration,
    waiting: Option<Instant>,
    /// It is kept: creating one costs more than resetting.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl MinimumRate {
    /// A client may stop for `grace`, and must keep up [`MINIMUM_RATE`] otherwise.
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, left: grace, waiting: None, sleep: None }
    }

    /// So many bytes have passed.
    pub(super) fn progress(&mut self, bytes: usize) {
        let Some(since) = self.waiting.take() else { return };
        let earned = Duration::from_secs(bytes as u64) / MINIMUM_RATE;
        self.left = (self.left.saturating_sub(since.elapsed()) + earned).min(self.grace);
    }

    /// Nothing is under way: the next wait begins with the whole time again.
    pub(super) fn reset(&mut self) {
        self.waiting = None;
        self.left = self.grace;
    }

    /// While waiting for the client: ready once it has used up its time.
    pub(super) fn poll_used_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(rt::sleep(self.left)));
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            sleep.as_mut().reset(now + self.left);
        }
        sleep.as_mut().poll(cx)
    }
}
