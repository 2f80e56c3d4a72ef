//! What waits for one of several connections. Of those with the same key, one is under way at a time: one busy post cannot
//! hold all connections.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Shared by those who add to it and those who take from it.
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Notify,
    limit: usize,
}

struct State<J> {
    waiting: VecDeque<(Option<i64>, J)>,
    under_way: HashSet<i64>,
    /// How many connections there are.
    connections: usize,
    /// Why there is none, once that is known.
    why_none: Option<String>,
    is_closed: bool,
}

/// Why something was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    NoConnection(String),
    Closed,
}

/// What was taken, until it is done.
pub(super) struct Taken<J> {
    pub(super) job: Option<J>,
    key: Option<i64>,
    queue: Arc<Queue<J>>,
}

impl<J> Drop for Taken<J> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.queue.lock().under_way.remove(&key);
            self.queue.changed.notify_waiters();
        }
    }
}

impl<J> Queue<J> {
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            under_way: HashSet::new(),
            connections: 0,
            why_none: None,
            is_closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is then taken in any case, also where there is no connection for now.
    pub(super) fn add_to_stay(&self, key: i64, job: J) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        // Nobody waits for these, so that others must not take their place.
        if state.waiting.len() >= 2 * self.limit {
            return Err(Refused::Full);
        }
        state.waiting.push_back((Some(key), job));
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(super) fn add(&self, key: Option<i64>, job: J) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if let (0, Some(why)) = (state.connections, &state.why_none) {
            return Err(Refused::NoConnection(why.clone()));
        }
        if state.waiting.len() >= self.limit {
            return Err(Refused::Full);
        }
        state.waiting.push_back((key, job));
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The first whose key is free; `None` once the queue is closed and empty.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Taken<J>> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                let State { waiting, under_way, .. } = &mut *state;
                let free =
                    waiting.iter().position(|(key, _)| key.is_none_or(|key| !under_way.contains(&key)));
                if let Some((key, job)) = free.and_then(|at| waiting.remove(at)) {
                    under_way.extend(key);
                    return Some(Taken { job: Some(job), key, queue: Arc::clone(self) });
                }
                if state.is_closed && state.waiting.is_empty() {
                    return None;
                }
            }
            changed.await;
        }
    }

    pub(super) fn connected(&self) {
        let mut state = self.lock();
        state.connections += 1;
        state.why_none = None;
    }

    /// A connection can be made again: what comes now waits for it.
    pub(super) fn expect_connections(&self) {
        self.lock().why_none = None;
    }

    pub(super) fn disconnected(&self) {
        self.lock().connections -= 1;
    }

    /// Nothing is taken until there is a connection; where there is none, returns what waits but for what `stays`.
    #[must_use]
    pub(super) fn failed(&self, why: &str, stays: impl Fn(&J) -> bool) -> Vec<J> {
        let mut state = self.lock();
        if state.connections > 0 {
            return Vec::new();
        }
        state.why_none = Some(why.to_owned());
        let is_closed = state.is_closed;
        let stays = |(_, job): &(_, J)| !is_closed && stays(job);
        let all = std::mem::take(&mut state.waiting);
        let (staying, leaving): (VecDeque<_>, VecDeque<_>) = all.into_iter().partition(stays);
        state.waiting = staying;
        leaving.into_iter().map(|(_, job)| job).collect()
    }

    /// Nothing more is added. What waits is still taken.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    pub(super) async fn until_closed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use std::pin::pin;

    #[tokio::test]
    async fn of_one_key_one_is_under_way_and_others_pass_it() {
        let queue = Arc::new(Queue::new(10));
        for (key, job) in [(Some(1), "a"), (Some(1), "b"), (None, "c"), (None, "d"), (Some(2), "e")] {
            queue.add(key, job).unwrap();
        }
        let first = queue.take().await.unwrap();
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(queue.take().await.unwrap().job.unwrap());
        }
        assert_eq!((first.job.unwrap(), others), ("a", vec!["c", "d", "e"]));
        let mut next = pin!(queue.take());
        assert!(poll!(&mut next).is_pending());
    }

    #[tokio::test]
    async fn the_next_of_a_key_follows_once_the_first_is_done() {
        let queue = Arc::new(Queue::new(10));
        queue.add(Some(1), "a").unwrap();
        queue.add(Some(1), "b").unwrap();
        let first = queue.take().await.unwrap();
        let mut next = pin!(queue.take());
        assert!(poll!(&mut next).is_pending());
        drop(first);
        assert_eq!(next.await.unwrap().job, Some("b"));
    }

    #[tokio::test]
    async fn without_a_connection_nothing_is_taken_and_what_waits_is_returned() {
        let queue = Arc::new(Queue::new(1));
        queue.add(None, 1).unwrap();
        assert_eq!(queue.add(None, 2), Err(Refused::Full));
        assert_eq!(queue.failed("down", |job| *job == 1), [0_i32; 0], "it stays");
        assert_eq!(queue.failed("down", |_| false), [1]);
        assert_eq!(queue.add(None, 3), Err(Refused::NoConnection("down".to_owned())));
        queue.connected();
        queue.add(None, 4).unwrap();
        assert_eq!(queue.failed("down", |_| false), Vec::<i32>::new(), "another one has a connection");
        queue.close();
        assert_eq!(queue.add(None, 5), Err(Refused::Closed));
        assert_eq!(queue.take().await.unwrap().job, Some(4));
        assert!(queue.take().await.is_none());
    }
}
