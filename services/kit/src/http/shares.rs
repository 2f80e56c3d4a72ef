//! What clients take of something bounded: no more than the whole together, and no more than a share each.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why nothing more can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// This client holds its whole share.
    Client,
    /// All clients together hold everything.
    Whole,
}

/// How much there is. Clones share it.
#[derive(Debug, Clone)]
pub struct Shares<K: Client>(Arc<Inner<K>>);

/// Whom a share belongs to.
pub trait Client: Copy + Eq + Hash + Debug + Send + 'static {}

impl<K: Copy + Eq + Hash + Debug + Send + 'static> Client for K {}

#[derive(Debug)]
struct Inner<K> {
    whole: usize,
    of_one: usize,
    taken: Mutex<Taken<K>>,
}

/// Only clients that hold something have an entry.
#[derive(Debug)]
struct Taken<K> {
    whole: usize,
    by_client: HashMap<K, usize>,
}

impl<K: Client> Shares<K> {
    /// As much as `whole` for all, of which one client gets at most `of_one`.
    pub fn new(whole: usize, of_one: usize) -> Self {
        Self(Arc::new(Inner {
            whole,
            of_one,
            taken: Mutex::new(Taken { whole: 0, by_client: HashMap::new() }),
        }))
    }

    /// The part of this client, which holds nothing yet. Clients that are not known share only the whole.
    pub fn part(&self, client: Option<K>) -> Part<K> {
        Part { shares: self.clone(), client, held: 0 }
    }

    /// Takes one for this client, until the part is dropped.
    pub fn take_one(&self, client: Option<K>) -> Result<Part<K>, Exceeded> {
        let mut part = self.part(client);
        part.grow(1).map(|()| part)
    }

    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one client holds, until it is dropped.
#[derive(Debug)]
pub struct Part<K: Client> {
    shares: Shares<K>,
    client: Option<K>,
    held: usize,
}

impl<K: Client> Part<K> {
    /// Takes so much more, or nothing.
    pub(super) fn grow(&mut self, amount: usize) -> Result<(), Exceeded> {
        let Inner { whole, of_one, .. } = *self.shares.0;
        let mut taken = self.shares.lock();
        if taken.whole + amount > whole {
            return Err(Exceeded::Whole);
        }
        if let Some(client) = self.client {
            let mine = taken.by_client.get(&client).copied().unwrap_or(0) + amount;
            if mine > of_one {
                return Err(Exceeded::Client);
            }
            taken.by_client.insert(client, mine);
        }
        taken.whole += amount;
        self.held += amount;
        Ok(())
    }
}

impl<K: Client> Drop for Part<K> {
    fn drop(&mut self) {
        if self.held == 0 {
            return;
        }
        let mut taken = self.shares.lock();
        taken.whole -= self.held;
        if let Some(client) = self.client {
            let left = taken.by_client.get(&client).copied().unwrap_or(0).saturating_sub(self.held);
            if left == 0 {
                taken.by_client.remove(&client);
            } else {
                taken.by_client.insert(client, left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_a_share_and_what_is_given_back_is_there_again() {
        let shares = Shares::new(10, 4);
        let take = |client: u8, amount| {
            let mut part = shares.part(Some(client));
            part.grow(amount).map(|()| part)
        };
        let mut first = take(1, 3).unwrap();
        assert_eq!(take(1, 2).unwrap_err(), Exceeded::Client);
        first.grow(1).unwrap();
        assert_eq!(first.grow(1), Err(Exceeded::Client));
        let (second, third) = (take(2, 4).unwrap(), take(3, 2).unwrap());
        assert_eq!(take(4, 1).unwrap_err(), Exceeded::Whole);
        assert_eq!(shares.part(None).grow(1), Err(Exceeded::Whole), "whoever is not known shares the whole");
        drop(first);
        take(4, 4).unwrap();
        drop((second, third));
        assert!(shares.lock().by_client.is_empty(), "nobody is remembered without holding something");
        assert_eq!(shares.lock().whole, 0);
    }
}
