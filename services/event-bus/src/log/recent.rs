//! The last events of the log in memory: what was just appended is delivered without being read back from the disk.

use super::Logged;
use shared::Sequence;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The most events.
const MOST: usize = 1_024;
/// The most bytes of their JSON.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// The last events that were committed, without gaps. What does not fit any more, or was appended before the start, has
/// to be read from the store.
#[derive(Debug, Default)]
pub(super) struct Recent {
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Events {
    /// Oldest first.
    queue: VecDeque<Logged>,
    bytes: usize,
}

impl Recent {
    /// Takes events that are on disk. The oldest make room for them.
    pub(super) fn push(&self, committed: &[Logged]) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        for event in committed {
            if events.queue.back().is_some_and(|last| last.sequence.next() != event.sequence) {
                *events = Events::default();
            }
            events.bytes += event.json.len();
            events.queue.push_back(event.clone());
        }
        while events.queue.len() > MOST || events.bytes > MOST_BYTES {
            let Some(oldest) = events.queue.pop_front() else { break };
            events.bytes -= oldest.json.len();
        }
    }

    /// As [`super::EventLog::read`]; `None` where the first of them is not here.
    pub(super) fn read(&self, after: Sequence, limit: usize, max_bytes: usize) -> Option<Vec<Logged>> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let first = events.queue.front()?.sequence;
        let skip = usize::try_from(after.next().get() - first.get()).ok()?;
        let mut bytes = 0;
        let fits = |event: &&Logged| {
            let is_first = bytes == 0;
            bytes += event.json.len();
            is_first || bytes <= max_bytes
        };
        let found: Vec<_> = events.queue.iter().skip(skip).take(limit).take_while(fits).cloned().collect();
        (!found.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::Timestamp;

    fn event(sequence: i64, len: usize) -> Logged {
        let sequence = Sequence::new(sequence);
        Logged { sequence, recorded_at: Timestamp::default(), json: "x".repeat(len).into() }
    }

    fn read(recent: &Recent, after: i64, limit: usize, max_bytes: usize) -> Option<Vec<i64>> {
        let found = recent.read(Sequence::new(after), limit, max_bytes)?;
        Some(found.iter().map(|event| event.sequence.get()).collect())
    }

    #[test]
    fn only_what_follows_without_a_gap_is_found() {
        let recent = Recent::default();
        assert_eq!(read(&recent, 0, 9, 99), None);
        recent.push(&[event(5, 10), event(6, 10), event(7, 10)]);
        assert_eq!(read(&recent, 3, 9, 99), None, "the next one is older");
        assert_eq!(read(&recent, 4, 9, 99), Some(vec![5, 6, 7]));
        assert_eq!(read(&recent, 5, 1, 99), Some(vec![6]));
        assert_eq!(read(&recent, 5, 9, 19), Some(vec![6]));
        assert_eq!(read(&recent, 5, 9, 1), Some(vec![6]), "one always fits");
        assert_eq!(read(&recent, 7, 9, 99), None, "the end");
        assert_eq!(read(&recent, 99, 9, 99), None);
        recent.push(&[event(9, 10)]);
        assert_eq!(read(&recent, 6, 9, 99), None, "what comes before a gap is forgotten");
        assert_eq!(read(&recent, 8, 9, 99), Some(vec![9]));
    }

    #[test]
    fn it_is_bounded_in_events_and_bytes() {
        let recent = Recent::default();
        let many: Vec<_> = (1..=MOST as i64 + 2).map(|sequence| event(sequence, 1)).collect();
        recent.push(&many);
        assert_eq!(read(&recent, 1, 1, 9), None);
        assert_eq!(read(&recent, 2, 1, 9), Some(vec![3]));
        let next = MOST as i64 + 3;
        recent.push(&[event(next, MOST_BYTES - 1), event(next + 1, 1)]);
        assert_eq!(read(&recent, next - 2, 9, 9), None);
        assert_eq!(read(&recent, next - 1, 9, MOST_BYTES), Some(vec![next, next + 1]));
        recent.push(&[event(next + 2, MOST_BYTES + 1)]);
        assert_eq!(read(&recent, next + 1, 9, 9), None, "larger than all that fits");
        recent.push(&[event(next + 3, 1)]);
        assert_eq!(read(&recent, next + 2, 9, 9), Some(vec![next + 3]));
    }
}
