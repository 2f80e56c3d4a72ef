//! Who has a connection: so many together, and so many for each client.
//!
//! Where all slots are taken, the connection that has been idle for the longest time is closed for a new one.

use super::activity::{Activity, IdleSignal};
use crate::http::ClientKey;
use crate::rt::Instant;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

pub(super) struct Slots {
    whole: usize,
    of_one: usize,
    begun: Instant,
    idle: Arc<IdleSignal>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    slots: HashMap<u64, Tenant>,
    by_client: HashMap<ClientKey, usize>,
}

/// A connection as the others see it.
struct Tenant {
    client: ClientKey,
    activity: Activity,
    closed: CancellationToken,
    leave: CancellationToken,
}

/// The slot of one connection, until it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    pub(super) activity: Activity,
    /// Cancelled when the connection is closed for another one.
    pub(super) closed: CancellationToken,
    /// Cancelled after `closed`, and when the server stops.
    pub(super) leave: CancellationToken,
}

/// The client has as many connections as it may, all of them in use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Slots {
    pub(super) fn new(whole: usize, of_one: usize) -> Arc<Self> {
        let (begun, idle, taken) = (Instant::now(), Arc::default(), Mutex::default());
        Arc::new(Self { whole, of_one, begun, idle, taken })
    }

    /// A slot for a new connection of this client. Where all are taken by connections in use, this waits for one.
    pub(super) async fn take(
        self: &Arc<Self>,
        client: ClientKey,
        stopping: &CancellationToken,
    ) -> Result<Slot, TooMany> {
        loop {
            if let Some(slot) = self.try_take(client, stopping)? {
                return Ok(slot);
            }
            self.idle.want(true);
            // Between the first look and the wish, one may have become idle.
            let second = self.try_take(client, stopping);
            if let Ok(None) = second {
                self.idle.changed().await;
            }
            self.idle.want(false);
            if let Some(slot) = second? {
                return Ok(slot);
            }
        }
    }

    /// Closes the connection that has been idle for the longest time, if one is idle.
    pub(super) fn make_room(&self) {
        self.lock().close_oldest_idle(None);
    }

    fn try_take(
        self: &Arc<Self>,
        client: ClientKey,
        stopping: &CancellationToken,
    ) -> Result<Option<Slot>, TooMany> {
        let mut taken = self.lock();
        let mine = taken.by_client.get(&client).copied().unwrap_or(0);
        if mine >= self.of_one && !taken.close_oldest_idle(Some(client)) {
            return Err(TooMany);
        }
        if taken.slots.len() >= self.whole && !taken.close_oldest_idle(None) {
            return Ok(None);
        }
        let slot = Slot {
            slots: Arc::clone(self),
            number: taken.next,
            activity: Activity::new(self.begun, Arc::clone(&self.idle)),
            closed: CancellationToken::new(),
            leave: stopping.child_token(),
        };
        let Slot { number, activity, closed, leave, .. } = &slot;
        let tenant =
            Tenant { client, activity: activity.clone(), closed: closed.clone(), leave: leave.clone() };
        taken.slots.insert(*number, tenant);
        taken.next += 1;
        *taken.by_client.entry(client).or_default() += 1;
        Ok(Some(slot))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Of this client, or of all. Returns whether one was idle. Its slot is free at once: to close it takes no longer
    /// than until its task runs.
    fn close_oldest_idle(&mut self, client: Option<ClientKey>) -> bool {
        let of_client = |tenant: &Tenant| client.is_none_or(|client| tenant.client == client);
        let tenants = self.slots.iter().filter(|(_, tenant)| of_client(tenant));
        let idle = tenants.filter_map(|(number, tenant)| Some((tenant.activity.idle_since()?, *number)));
        let Some((_, number)) = idle.min() else { return false };
        if let Some(tenant) = self.remove(number) {
            tenant.closed.cancel();
            tenant.leave.cancel();
            metrics::counter!("http_connections_closed_for_others_total").increment(1);
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Tenant> {
        let tenant = self.slots.remove(&number)?;
        if let Some(count) = self.by_client.get_mut(&tenant.client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&tenant.client);
            }
        }
        Some(tenant)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().remove(self.number);
        self.slots.idle.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::Busy;
    use super::*;
    use crate::rt;
    use std::net::IpAddr;
    use std::time::Duration;

    fn client(n: u8) -> ClientKey {
        IpAddr::from([192, 0, 2, n]).into()
    }

    #[tokio::test]
    async fn the_connection_that_is_idle_for_the_longest_time_makes_room() {
        let (slots, stopping) = (Slots::new(3, 3), CancellationToken::new());
        let take = async |n| slots.take(client(n), &stopping).await.unwrap();
        let (busy, first, second) = (take(1).await, take(1).await, take(2).await);
        busy.activity.set(Busy::Body);
        first.activity.set(Busy::Unwritten);
        first.activity.clear(Busy::Unwritten);
        second.activity.set(Busy::Head);
        let third = take(3).await;
        assert!(
            second.leave.is_cancelled(),
            "the first has been busy since, and a part of a head is no request"
        );
        let _fourth = take(4).await;
        assert!(first.leave.is_cancelled() && !busy.leave.is_cancelled() && !third.leave.is_cancelled());
        drop((first, second));
        assert_eq!(slots.lock().slots.len(), 3, "whoever has left gives nothing back twice");
    }

    #[tokio::test]
    async fn where_all_are_in_use_a_new_one_waits_until_one_is_idle_or_ends() {
        let (slots, stopping) = (Slots::new(2, 2), CancellationToken::new());
        let take = async |n| slots.take(client(n), &stopping).await.unwrap();
        let held = [take(1).await, take(1).await];
        for slot in &held {
            slot.activity.set(Busy::Unwritten);
        }
        let [first, second] = held;
        let waits = async |n| rt::timeout(Duration::from_millis(50), take(n)).await.is_err();
        assert!(waits(2).await);
        let (third, ()) = tokio::join!(take(2), async { first.activity.clear(Busy::Unwritten) });
        assert!(first.leave.is_cancelled());
        third.activity.advance();
        assert!(waits(3).await);
        tokio::join!(take(3), async { drop(second) });
    }

    #[tokio::test]
    async fn a_client_has_its_share_of_the_slots() {
        let (slots, stopping) = (Slots::new(4, 2), CancellationToken::new());
        let take = async |n| slots.take(client(n), &stopping).await;
        let (first, second) = (take(1).await.unwrap(), take(1).await.unwrap());
        first.activity.advance();
        second.activity.advance();
        assert_eq!(take(1).await.err(), Some(TooMany));
        let other = take(2).await.unwrap();
        second.activity.advance();
        let _third = take(1).await.unwrap();
        assert!(second.leave.is_cancelled(), "its own idle connection makes room");
        assert!(!other.leave.is_cancelled());
        drop((first, second, other));
        assert_eq!(slots.lock().by_client.len(), 1, "a client without connections is forgotten");
    }
}
