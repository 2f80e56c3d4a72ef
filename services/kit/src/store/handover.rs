//! From a commit to a task that waits for what it stored, without a second read by another thread: the writer reads it
//! from its own connection directly after the commit, and hands it over.
//!
//! At most one thing is held, and only while the task waits. Everything else the task reads from the store itself: what a
//! start finds, what was committed while it was at work, what was too much.

use super::{SqlError, Tx};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many commits there were when a task read the store: where there have been more, it may hold more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AsOf(u64);

/// The task's side. Made by [`super::Store::hand_over`].
#[derive(Debug)]
pub struct Handover<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    commits: AsOf,
    /// The task waits for what comes after this place.
    waits_after: Option<i64>,
    /// With the commit after which it was read.
    given: Option<(T, AsOf)>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer calls after each commit.
pub(super) type Observer = Box<dyn FnMut(&Tx<'_>) -> Result<(), SqlError> + Send>;

/// Both sides. `read` returns what comes after a place, `None` where there is nothing.
pub(super) fn new<T: Send + 'static>(
    mut read: impl FnMut(&Tx<'_>, i64) -> Result<Option<T>, SqlError> + Send + 'static,
) -> (Handover<T>, Observer) {
    let state = State { commits: AsOf::default(), waits_after: None, given: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
    let handover = Handover { shared: Arc::clone(&shared) };
    let observer = move |tx: &Tx<'_>| {
        let mut state = shared.lock();
        state.commits.0 += 1;
        let Some(after) = state.waits_after else { return Ok(()) };
        let found = read(tx, after);
        if matches!(found, Ok(None)) {
            return Ok(());
        }
        state.waits_after = None;
        let as_of = state.commits;
        // Where it cannot be read here, the task is woken all the same, and tries it itself.
        let result = found.map(|found| state.given = found.map(|found| (found, as_of)));
        shared.changed.notify_one();
        result
    };
    (handover, Box::new(observer))
}

/// Wakes the task after each commit. It reads what was committed itself.
#[cfg(feature = "postgres")]
pub(super) type Wake = Box<dyn Fn() + Send + Sync>;

/// Both sides, where what is committed is not handed over.
#[cfg(feature = "postgres")]
pub(super) fn waking<T: Send + 'static>() -> (Handover<T>, Wake) {
    let state = State { commits: AsOf::default(), waits_after: None, given: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
    let handover = Handover { shared: Arc::clone(&shared) };
    let wake = move || {
        let mut state = shared.lock();
        state.commits.0 += 1;
        if state.waits_after.take().is_some() {
            shared.changed.notify_one();
        }
    };
    (handover, Box::new(wake))
}

impl<T> Handover<T> {
    /// To be taken before the store is read.
    pub fn now(&self) -> AsOf {
        self.shared.lock().commits
    }

    /// Waits for what comes after a place, where the store held nothing there as of then; returns it, and as of when it
    /// is all there was. `None` where the store may hold more already, or could not be read: it has to be read.
    pub async fn next(&self, after: i64, as_of: AsOf) -> Option<(T, AsOf)> {
        {
            let mut state = self.shared.lock();
            if state.commits != as_of {
                return None;
            }
            (state.waits_after, state.given) = (Some(after), None);
        }
        let _waiting = Waiting(&self.shared);
        loop {
            self.shared.changed.notified().await;
            let mut state = self.shared.lock();
            match state.given.take() {
                Some(given) => return Some(given),
                None if state.waits_after.is_none() => return None,
                // A wake-up that is left over from a wait that was given up.
                None => {}
            }
        }
    }
}

/// Ends the wait also where it is given up.
struct Waiting<'a, T>(&'a Shared<T>);

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.0.lock().waits_after = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Memory, values};
    use futures_util::poll;
    use std::pin::pin;
    use std::task::Poll;

    struct Rows {
        memory: Memory,
        observer: Observer,
    }

    /// Hands over the numbers of all rows after a place.
    fn rows() -> (Handover<Vec<i64>>, Rows) {
        let memory = Memory::new(&[&["CREATE TABLE rows (n INTEGER PRIMARY KEY)"]]);
        let (handover, observer) = new(|tx: &Tx<'_>, after: i64| {
            let sql = "SELECT n FROM rows WHERE n > $1 ORDER BY n";
            let found = tx.query(sql, values![after], |row| row.int(0))?;
            Ok((!found.is_empty()).then_some(found))
        });
        (handover, Rows { memory, observer })
    }

    impl Rows {
        fn commit(&mut self, count: usize) {
            for _ in 0..count {
                self.memory.tx().execute("INSERT INTO rows DEFAULT VALUES", &[]).unwrap();
            }
            (self.observer)(&self.memory.tx()).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_committed_while_nobody_waits_has_to_be_read() {
        let (handover, mut rows) = rows();
        let as_of = handover.now();
        rows.commit(1);
        assert!(matches!(poll!(pin!(handover.next(0, as_of))), Poll::Ready(None)));
        let as_of = handover.now();
        assert!(poll!(pin!(handover.next(1, as_of))).is_pending(), "nothing more since then");
    }

    #[tokio::test]
    async fn what_is_committed_meanwhile_is_handed_over_once_and_in_order() {
        let (handover, mut rows) = rows();
        let mut next = pin!(handover.next(0, handover.now()));
        assert!(poll!(&mut next).is_pending());
        rows.commit(0);
        assert!(poll!(&mut next).is_pending(), "a commit of other things");
        rows.commit(2);
        rows.commit(1);
        let (given, as_of) = next.await.unwrap();
        assert_eq!(given, [1, 2]);
        assert!(handover.next(2, as_of).await.is_none(), "the third is in the store, and has to be read");
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_leaves_nothing_behind() {
        let (handover, mut rows) = rows();
        {
            let mut next = pin!(handover.next(0, handover.now()));
            assert!(poll!(&mut next).is_pending());
            rows.commit(1);
        }
        rows.commit(1);
        let mut next = pin!(handover.next(2, handover.now()));
        assert!(poll!(&mut next).is_pending(), "neither the old rows nor the old wake-up");
        rows.commit(1);
        assert_eq!(next.await.unwrap().0, [3]);
    }

    #[tokio::test]
    async fn what_the_writer_cannot_read_is_left_to_the_task() {
        let (handover, mut rows) = rows();
        let mut next = pin!(handover.next(0, handover.now()));
        assert!(poll!(&mut next).is_pending());
        rows.memory.tx().execute("DROP TABLE rows", &[]).unwrap();
        assert!((rows.observer)(&rows.memory.tx()).is_err());
        assert!(next.await.is_none());
    }
}
