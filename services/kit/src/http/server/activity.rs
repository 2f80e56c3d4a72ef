//! What a connection is doing, as far as others need to know.

use crate::rt::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};
use tokio::sync::Notify;

/// Shared by the service, which knows when a request begins and ends, by the socket, which sees the bytes, and by
/// those who look for connections that may be closed.
#[derive(Clone)]
pub(super) struct Activity(Arc<State>);

struct State {
    /// Even while the connection waits for a request, odd while a handler runs.
    phase: AtomicU32,
    busy: AtomicU8,
    /// Nanoseconds after `begun`: microseconds are the same for two connections that follow closely.
    idle_since: AtomicU64,
    begun: Instant,
    idle: Arc<IdleSignal>,
}

/// What a connection in an even phase is doing.
#[derive(Clone, Copy)]
pub(super) enum Busy {
    /// A head has begun to arrive. Until it is whole the connection is as idle as before: else a client could keep
    /// connections by sending heads that never end.
    Head = 1,
    /// The body of a response is not at its end.
    Body = 2,
    /// The client has not taken all of a response.
    Unwritten = 4,
}

/// Wakes whoever waits for a connection to become idle or to end.
#[derive(Default)]
pub(super) struct IdleSignal {
    wanted: AtomicBool,
    changed: Notify,
}

impl IdleSignal {
    /// From now on changes are noticed. There may be one waiter.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, SeqCst);
    }

    pub(super) fn notify(&self) {
        if self.wanted.load(SeqCst) {
            self.changed.notify_one();
        }
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Activity {
    /// A new connection is idle. `begun` is the same for all connections that are compared.
    pub(super) fn new(begun: Instant, idle: Arc<IdleSignal>) -> Self {
        let state = State {
            phase: AtomicU32::default(),
            busy: AtomicU8::default(),
            idle_since: AtomicU64::default(),
            begun,
            idle,
        };
        let activity = Self(Arc::new(state));
        activity.touch();
        activity
    }

    /// To be called when a handler begins and when it ends.
    pub(super) fn advance(&self) {
        if self.0.phase.fetch_add(1, SeqCst).is_multiple_of(2) {
            self.0.busy.fetch_and(!(Busy::Head as u8), SeqCst);
        }
    }

    pub(super) fn phase(&self) -> u32 {
        self.0.phase.load(SeqCst)
    }

    pub(super) fn set(&self, busy: Busy) {
        self.0.busy.fetch_or(busy as u8, SeqCst);
    }

    pub(super) fn clear(&self, busy: Busy) {
        self.touch();
        self.0.busy.fetch_and(!(busy as u8), SeqCst);
        if self.idle_since().is_some() {
            self.0.idle.notify();
        }
    }

    /// Since when it has been waiting for the whole head of a request; nothing while it is busy.
    pub(super) fn idle_since(&self) -> Option<u64> {
        let busy = self.0.busy.load(SeqCst) & !(Busy::Head as u8);
        let idle = self.phase().is_multiple_of(2) && busy == 0;
        idle.then(|| self.0.idle_since.load(SeqCst))
    }

    /// Whether a part of a head has arrived.
    pub(super) fn has_part_of_a_head(&self) -> bool {
        self.phase().is_multiple_of(2) && self.0.busy.load(SeqCst) & Busy::Head as u8 != 0
    }

    fn touch(&self) {
        self.0.idle_since.store(self.0.begun.elapsed().as_nanos() as u64, SeqCst);
    }
}
