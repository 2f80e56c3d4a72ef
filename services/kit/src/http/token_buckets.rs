//! A token bucket for each of many keys, within bounded memory.

use crate::rt::Instant;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many buckets are remembered: at most twice this many.
const GENERATION: usize = 16 * 1024;

/// How a bucket fills, and how many tokens it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    pub(super) burst: u32,
}

/// The buckets, all of the same rate. Of each only the time is stored at which it will be full.
pub(super) struct Buckets<K> {
    rate: Rate,
    full_at: Mutex<Generations<K>>,
}

/// The buckets that were used last: once `young` is full it becomes `old`, whose buckets are forgotten unless they are
/// used again. A bucket that is forgotten is full.
struct Generations<K> {
    young: HashMap<K, Instant>,
    old: HashMap<K, Instant>,
}

impl<K: Hash + Eq> Buckets<K> {
    /// Every bucket is full.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full_at: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }) }
    }

    /// Takes a token out of the bucket; the error is how long it takes until there is one.
    pub(super) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let token = Duration::from_secs(1) / self.rate.per_second;
        let mut generations = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { young, old } = &mut *generations;
        let stored = young.get(&key).or_else(|| old.get(&key)).copied();
        let full_at = stored.map_or(now, |at| at.max(now)) + token;
        // An empty bucket needs this long to be full.
        let missing = full_at.saturating_duration_since(now).checked_sub(token * self.rate.burst);
        if let Some(wait) = missing.filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if young.len() >= GENERATION && !young.contains_key(&key) {
            *old = std::mem::take(young);
        }
        young.insert(key, full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (buckets, start) = (Buckets::new(Rate { per_second: 10, burst: 3 }), Instant::now());
        let take = |ms| buckets.take("a", start + Duration::from_millis(ms)).map_err(|wait| wait.as_millis());
        assert_eq!([take(0), take(0), take(0), take(0)], [Ok(()), Ok(()), Ok(()), Err(100)]);
        assert_eq!([take(60), take(100), take(100)], [Err(40), Ok(()), Err(100)]);
        assert_eq!([take(9_000), take(9_000), take(9_000), take(9_000)], [Ok(()), Ok(()), Ok(()), Err(100)]);
        assert_eq!(buckets.take("b", start), Ok(()));
    }

    #[test]
    fn the_buckets_that_are_remembered_are_bounded_and_used_ones_stay() {
        let (buckets, now) = (Buckets::new(Rate { per_second: 1, burst: 1_000_000 }), Instant::now());
        for key in 1..10 * GENERATION {
            buckets.take(key, now).unwrap();
            if key % 1_000 == 0 {
                buckets.take(0, now).unwrap();
            }
        }
        let generations = buckets.full_at.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        assert!(!generations.young.contains_key(&1) && !generations.old.contains_key(&1));
        let used = generations.young.get(&0).or_else(|| generations.old.get(&0)).unwrap();
        assert!(*used > now + Duration::from_secs(100), "a bucket that is used is not forgotten");
    }
}
