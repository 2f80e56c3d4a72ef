//! Requests that wait for something to become known, each woken by its key.
//!
//! A waiter registers before it checks, so that a wake-up between its check and its wait reaches it. Whoever makes a key
//! known wakes it after the commit, never before: the check of a woken waiter must find it.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The waiters for all keys. Clones share them.
#[derive(Debug)]
pub struct KeyWaiters<K> {
    inner: Arc<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    waiting: Mutex<Waiting<K>>,
    limit: usize,
}

#[derive(Debug)]
struct Waiting<K> {
    /// Only keys with a waiter.
    keys: HashMap<K, Key>,
    /// The waiters of all keys together.
    count: usize,
}

#[derive(Debug)]
struct Key {
    wake: Arc<Notify>,
    count: usize,
}

impl<K> Clone for KeyWaiters<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K: Eq + Hash + Clone> KeyWaiters<K> {
    /// With at most this many waiters at the same time.
    pub fn new(limit: usize) -> Self {
        let waiting = Mutex::new(Waiting { keys: HashMap::new(), count: 0 });
        Self { inner: Arc::new(Inner { waiting, limit }) }
    }

    /// Runs `check` at once, and again each time the key is woken, until it finds something. Where too many wait
    /// already, it runs once, and its result is final.
    ///
    /// Waits without an end of its own: the caller sets a deadline, and stops when the process does.
    pub async fn wait_for<T, E, F>(&self, key: K, mut check: impl FnMut() -> F) -> Result<Option<T>, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        let Some(place) = self.register(key) else { return check().await };
        loop {
            // Receives every wake-up from here on, also before it is polled.
            let woken = place.wake.notified();
            if let Some(found) = check().await? {
                return Ok(Some(found));
            }
            woken.await;
        }
    }

    /// Wakes all who wait for one of these keys. What they wait for must be visible to their checks.
    pub fn wake(&self, keys: impl IntoIterator<Item: Borrow<K>>) {
        let waiting = self.inner.lock();
        if waiting.keys.is_empty() {
            return;
        }
        for key in keys {
            if let Some(key) = waiting.keys.get(key.borrow()) {
                key.wake.notify_waiters();
            }
        }
    }

    /// Wakes all who wait: what they wait for may have become visible by somebody else's doing.
    pub fn wake_all(&self) {
        for key in self.inner.lock().keys.values() {
            key.wake.notify_waiters();
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.inner.lock().count
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn register(&self, key: K) -> Option<Place<K>> {
        let mut waiting = self.inner.lock();
        if waiting.count >= self.inner.limit {
            return None;
        }
        waiting.count += 1;
        let entry = waiting.keys.entry(key.clone()).or_insert_with(|| Key { wake: Arc::default(), count: 0 });
        entry.count += 1;
        let wake = Arc::clone(&entry.wake);
        drop(waiting);
        Some(Place { key, wake, inner: Arc::clone(&self.inner) })
    }
}

impl<K> Inner<K> {
    fn lock(&self) -> MutexGuard<'_, Waiting<K>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One waiter's registration, until it is dropped.
#[derive(Debug)]
struct Place<K: Eq + Hash> {
    key: K,
    wake: Arc<Notify>,
    inner: Arc<Inner<K>>,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut waiting = self.inner.lock();
        waiting.count -= 1;
        if let Some(key) = waiting.keys.get_mut(&self.key) {
            key.count -= 1;
            if key.count == 0 {
                waiting.keys.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::cell::Cell;
    use std::convert::Infallible;

    /// A check that counts how often it runs, and finds something from the `nth` time on.
    fn found_from(
        nth: usize,
        ran: &Cell<usize>,
    ) -> impl FnMut() -> std::future::Ready<Result<Option<usize>, Infallible>> {
        move || {
            ran.set(ran.get() + 1);
            std::future::ready(Ok((ran.get() >= nth).then(|| ran.get())))
        }
    }

    #[test]
    fn what_is_known_is_answered_without_waiting() {
        let waiters = KeyWaiters::new(1);
        let ran = Cell::new(0);
        let found = waiters.wait_for("a", found_from(1, &ran)).now_or_never().unwrap();
        assert_eq!((found, ran.get()), (Ok(Some(1)), 1));
        assert!(waiters.is_empty());
    }

    #[test]
    fn a_waiter_checks_only_when_its_own_key_is_woken() {
        let waiters = KeyWaiters::new(10);
        let ran = Cell::new(0);
        let mut waiting = Box::pin(waiters.wait_for("a", found_from(3, &ran)));
        for (woken, expected) in [("b", 1), ("a", 2), ("b", 2)] {
            assert_eq!((&mut waiting).now_or_never(), None);
            waiters.wake([&woken]);
            assert_eq!((&mut waiting).now_or_never(), None);
            assert_eq!(ran.get(), expected, "after {woken}");
        }
        waiters.wake([&"b", &"a"]);
        assert_eq!(waiting.now_or_never(), Some(Ok(Some(3))));
    }

    #[test]
    fn a_wake_up_during_the_check_is_not_lost() {
        let waiters = KeyWaiters::new(1);
        let mut ran = 0;
        let check = || {
            ran += 1;
            // The check has not seen it, and it becomes known before the wait begins.
            waiters.wake([&"a"]);
            std::future::ready(Ok::<_, Infallible>((ran == 2).then_some(())))
        };
        assert_eq!(waiters.wait_for("a", check).now_or_never(), Some(Ok(Some(()))));
    }

    #[test]
    fn those_beyond_the_limit_check_once_and_places_are_free_again() {
        let waiters = KeyWaiters::new(2);
        let ran = Cell::new(0);
        let never = || found_from(usize::MAX, &ran);
        let mut waiting = ["a", "a"].map(|key| Box::pin(waiters.wait_for(key, never())));
        assert!(waiting.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
        assert_eq!(waiters.len(), 2);
        for key in ["a", "b"] {
            assert_eq!(waiters.wait_for(key, never()).now_or_never(), Some(Ok(None)), "{key}");
        }
        let [first, second] = waiting;
        drop(first);
        let mut third = Box::pin(waiters.wait_for("b", never()));
        assert_eq!((&mut third).now_or_never(), None, "it has a place");
        drop((second, third));
        assert!(waiters.is_empty());
    }

    #[test]
    fn the_end_of_the_check_ends_the_wait() {
        let waiters = KeyWaiters::new(1);
        let failing = || std::future::ready(Err::<Option<()>, _>("broken"));
        assert_eq!(waiters.wait_for("a", failing).now_or_never(), Some(Err("broken")));
        assert!(waiters.is_empty());
    }
}
